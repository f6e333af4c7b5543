//! From what was seen to columns: what every sample fits, and words on what a person should look at.
//!
//! Conservative: a type is chosen when all samples have it, NOT NULL never is, since no number of samples tells that a
//! field always comes. What has no type that fits is left out and named.

use arrow::datatypes::{DataType, Field, Fields};

use super::observe::{Object, Seen};
use super::time;
use crate::config;
use crate::schema::{TableSchema, ddl, list_type, map_type, timestamp_type};

/// The levels below a column that are looked at; the schema's own limit leaves room for more.
const MAX_DEPTH: usize = 24;
/// An object with more fields than this, none of which is in half of the objects, is a map.
const MAX_RARE_FIELDS: usize = 50;

/// The columns of a topic's values.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub fields: Vec<Field>,
    /// What to know of single columns, in their order.
    pub notes: Vec<Note>,
    /// Fields at the top that are no columns.
    pub left_out: Vec<String>,
    /// There are texts without a zone in TIMESTAMP columns.
    pub local_times: bool,
}

/// A remark on one field, by its dotted path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub path: String,
    pub text: String,
}

/// Columns for the fields of these objects.
pub(super) fn columns(objects: &Object) -> Columns {
    let mut columns = Columns::default();
    if objects.overflow {
        let text = format!("there are more fields than the {} looked at", objects.fields.len());
        columns.notes.push(Note { path: "*".into(), text });
    }
    let fields = columns.fields_of(objects, "", 0);
    columns.fields = fields;
    columns
}

impl Columns {
    fn fields_of(&mut self, objects: &Object, path: &str, depth: usize) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for (name, seen) in &objects.fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let twin = fields.iter().find(|f| f.name().to_lowercase() == name.to_lowercase());
            let field = match twin {
                Some(twin) => Err(format!("differs from `{}` by case only", twin.name())),
                None => self.field(name, seen, &path, depth),
            };
            match field {
                Ok(field) => fields.push(field),
                Err(why) => self.leave_out(path, why, depth),
            }
        }
        fields
    }

    fn leave_out(&mut self, path: String, why: String, depth: usize) {
        if depth == 0 {
            self.left_out.push(path.clone());
        }
        self.notes.push(Note { path, text: format!("left out: {why}") });
    }

    fn field(
        &mut self,
        name: &str,
        seen: &Seen,
        path: &str,
        depth: usize,
    ) -> Result<Field, String> {
        check_name(name, depth)?;
        Ok(Field::new(name, self.data_type(seen, path, depth)?, true))
    }

    fn data_type(&mut self, seen: &Seen, path: &str, depth: usize) -> Result<DataType, String> {
        if depth >= MAX_DEPTH {
            return Err("nested too deep".into());
        }
        let kinds: Vec<&str> = [
            (seen.booleans > 0, "true or false"),
            (seen.has_numbers(), "a number"),
            (seen.texts.count > 0, "text"),
            (seen.arrays > 0, "an array"),
            (seen.objects.count > 0, "an object"),
        ]
        .into_iter()
        .filter_map(|(is_seen, kind)| is_seen.then_some(kind))
        .collect();
        match kinds.as_slice() {
            [] => Err("null in every sample".into()),
            ["true or false"] => Ok(DataType::Boolean),
            ["a number"] => Ok(self.number(seen, path)),
            ["text"] => Ok(self.text(seen)),
            ["an array"] => {
                let elements = seen.elements.as_deref().filter(|elements| elements.count > 0);
                let elements = elements.ok_or("an empty array in every sample")?;
                self.data_type(elements, &format!("{path}.element"), depth + 1).map(list_type)
            }
            ["an object"] => self.object(&seen.objects, path, depth),
            several => Err(format!("of several types ({})", several.join(", "))),
        }
    }

    fn number(&mut self, seen: &Seen, path: &str) -> DataType {
        let note = |text: String| Note { path: path.to_owned(), text };
        if seen.fractions > 0 {
            let text =
                "DOUBLE rounds; DECIMAL(18,4), or as many digits as it needs, is exact (for money)";
            self.notes.push(note(text.into()));
            return DataType::Float64;
        }
        if seen.larger > 0 {
            self.notes.push(note("some are too large for BIGINT".into()));
            return DataType::Decimal128(38, 0);
        }
        let name = path.rsplit('.').next().unwrap_or(path);
        let format = seen.integers.and_then(|(min, max)| time::epoch_format(name, min, max));
        if let Some(format) = format {
            self.notes.push(note(format!(
                "looks like a time: TIMESTAMP in the schema, and `timestamps: {{{}: {format}}}`",
                serde_json::Value::from(path)
            )));
        }
        DataType::Int64
    }

    fn text(&mut self, seen: &Seen) -> DataType {
        let texts = &seen.texts;
        if texts.dates == texts.count {
            return DataType::Date32;
        }
        if texts.zoned + texts.local == texts.count {
            self.local_times |= texts.local > 0;
            return timestamp_type();
        }
        DataType::Utf8
    }

    fn object(&mut self, objects: &Object, path: &str, depth: usize) -> Result<DataType, String> {
        if objects.fields.is_empty() {
            return Err("an empty object in every sample".into());
        }
        if is_map(objects) {
            let mut values = Seen::default();
            let (notes, local_times) = (self.notes.len(), self.local_times);
            merge_values(&mut values, objects);
            return match self.data_type(&values, &format!("{path}.value"), depth + 1) {
                Ok(values) => {
                    let text = "its fields differ from record to record: a MAP".to_owned();
                    self.notes.push(Note { path: path.to_owned(), text });
                    Ok(map_type(DataType::Utf8, values))
                }
                Err(why) => {
                    self.notes.truncate(notes);
                    self.local_times = local_times;
                    Err(format!("a map whose values are {why}"))
                }
            };
        }
        let fields = self.fields_of(objects, path, depth + 1);
        match fields.is_empty() {
            true => Err("none of its fields has a type".into()),
            false => Ok(DataType::Struct(Fields::from(fields))),
        }
    }
}

fn is_map(objects: &Object) -> bool {
    let most = objects.fields.iter().map(|(_, seen)| seen.count).max().unwrap_or(0);
    objects.overflow || (objects.fields.len() > MAX_RARE_FIELDS && most * 2 < objects.count)
}

fn merge_values(values: &mut Seen, objects: &Object) {
    for (_, seen) in &objects.fields {
        values.merge(seen.clone());
    }
}

/// Names that the configuration or a reader of the table would stumble over.
fn check_name(name: &str, depth: usize) -> Result<(), String> {
    // What could break the line it is written on; accents and other scripts are fine.
    if !name.chars().all(|c| c.is_alphanumeric() || c.is_ascii_graphic()) {
        return Err("its name holds characters that a column can't have".into());
    }
    if depth == 0 {
        if name.eq_ignore_ascii_case(config::RESCUE_COLUMN) {
            return Err("its name is taken".into());
        }
        if let Some(why) = config::column_refusal(name) {
            return Err(why);
        }
    }
    let column = TableSchema::new(vec![Field::new(name, DataType::Boolean, true)]);
    ddl::parse(&ddl::format(&column)).map(drop).map_err(|error| error.message)
}

/// Whether columns of these names are there and primitive: what a key can be made of.
pub(super) fn can_be_key(fields: &[Field], names: &[String]) -> bool {
    let primitive = |name: &String| {
        let mut fields = fields.iter();
        fields.any(|f| f.name() == name && !f.data_type().is_nested())
    };
    !names.is_empty() && names.iter().all(primitive)
}

/// One definition a line.
pub(super) fn definitions(fields: &[Field]) -> Vec<String> {
    let one = |field: &Field| ddl::format(&TableSchema::new(vec![field.clone()]));
    fields.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
