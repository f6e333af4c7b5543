//! A JSON object into columns: the whole value, or a STRUCT in it.
//!
//! Producers write the fields of a topic in one order, so the field that followed last time is expected first, by its
//! bytes `"name":`; only another one is looked up.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields};

use super::super::flaw::{Flaw, Reject, Scan, Step};
use super::super::nested::Growing;
use super::column::{Column, Values};
use super::rescue::Rescued;
use super::scan::{Scanner, Token};

pub(super) struct Object {
    /// Those of `columns`, and the one of rescued fields if there is one.
    fields: Fields,
    columns: Vec<Column>,
    /// Of each column: its name and a colon as most producers write them, `"name":`.
    tokens: Vec<Token>,
    /// Names and their columns, sorted.
    names: Vec<(Box<[u8]>, usize)>,
    /// The column that followed each column last time; the last place is for the first field of an object.
    successors: Vec<usize>,
    /// Objects read so far, null ones included.
    len: usize,
    unknown: Unknown,
}

/// What is done with a field that the schema doesn't declare.
pub(super) enum Unknown {
    Ignore,
    Refuse,
    /// Kept, in the column after the others.
    Rescue(Rescued),
}

impl Object {
    pub(super) fn new(fields: Fields, columns: Vec<Column>, unknown: Unknown) -> Self {
        let names = columns.iter().map(|column| column.field().name());
        let token = |name: &String| format!("{}:", serde_json::Value::from(name.as_str()));
        let tokens = names.clone().map(|name| Token::new(token(name))).collect();
        let mut sorted: Vec<(Box<[u8]>, usize)> =
            names.enumerate().map(|(index, name)| (name.as_bytes().into(), index)).collect();
        sorted.sort_unstable();
        let successors =
            (1..=columns.len()).map(|next| next % columns.len().max(1)).chain([0]).collect();
        Self { fields, columns, tokens, names: sorted, successors, len: 0, unknown }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// A declared column.
    pub(super) fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    /// As a nullable STRUCT column.
    pub(super) fn into_column(self, name: &str) -> Column {
        let field = Field::new(name, DataType::Struct(self.fields.clone()), true);
        Column::new(Arc::new(field), Values::Struct(Box::new(self)))
    }

    /// Reads the object whose `{` stands here.
    pub(super) fn read(&mut self, json: &mut Scanner<'_>) -> Scan<()> {
        json.enter()?;
        if let Unknown::Rescue(rescued) = &mut self.unknown {
            rescued.begin();
        }
        let mut seen = 0;
        if !json.closes(b'}') {
            let mut previous = self.columns.len();
            loop {
                let name_at = json.at();
                if let Some(index) = self.field(json, previous)? {
                    self.value(json, index, name_at)?;
                    (previous, seen) = (index, seen + 1);
                } else {
                    self.unknown(json, name_at)?;
                }
                if !json.another(b'}')? {
                    break;
                }
            }
        }
        if seen < self.columns.len() {
            self.fill_missing(json.at() - 1)?;
        }
        if let Unknown::Rescue(rescued) = &mut self.unknown {
            rescued.close();
        }
        self.len += 1;
        Ok(())
    }

    /// Moves over the value of a field that no column takes.
    fn unknown(&mut self, json: &mut Scanner<'_>, name_at: usize) -> Scan<()> {
        match &mut self.unknown {
            Unknown::Ignore => json.skip_value(),
            Unknown::Refuse => Err(Reject::new(Flaw::Unknown, name_at)),
            Unknown::Rescue(rescued) => {
                let name = name_in(json.since(name_at));
                let value_at = json.at();
                json.skip_value()?;
                rescued.keep(name, json.since(value_at));
                Ok(())
            }
        }
    }

    /// Moves over a field's name and colon; answers its column, `None` when the schema has none of that name.
    #[inline]
    fn field(&mut self, json: &mut Scanner<'_>, previous: usize) -> Scan<Option<usize>> {
        let expected = self.successors[previous];
        if json.take_token(&self.tokens[expected]) {
            json.skip_blanks();
            return Ok(Some(expected));
        }
        if json.peek() != Some(b'"') {
            return json.unexpected("a field name in quotes");
        }
        let name = json.text()?;
        let index = self.names.binary_search_by(|(known, _)| (**known).cmp(name)).ok();
        let index = index.map(|place| self.names[place].1);
        if let Some(index) = index {
            self.successors[previous] = index;
        }
        json.colon()?;
        Ok(index)
    }

    #[inline]
    fn value(&mut self, json: &mut Scanner<'_>, index: usize, name_at: usize) -> Scan<()> {
        let column = &mut self.columns[index];
        let read = if column.len() == self.len {
            column.read(json)
        } else {
            Err(Reject::new(Flaw::FieldTwice, name_at))
        };
        read.map_err(|reject| reject.inside(Step::Field(column.field().name().clone())))
    }

    /// Gives the columns whose field did not come a null.
    fn fill_missing(&mut self, end: usize) -> Scan<()> {
        for column in self.columns.iter_mut().filter(|column| column.len() == self.len) {
            if !column.field().is_nullable() {
                let step = Step::Field(column.field().name().clone());
                return Err(Reject::new(Flaw::Missing, end).inside(step));
            }
            column.append_null();
        }
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        self.columns.iter_mut().for_each(Column::append_null);
        if let Unknown::Rescue(rescued) = &mut self.unknown {
            rescued.append_null();
        }
        self.len += 1;
    }

    /// Drops all objects from `len` on, complete or not.
    pub(super) fn truncate(&mut self, len: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(len));
        if let Unknown::Rescue(rescued) = &mut self.unknown {
            rescued.truncate(len);
        }
        self.len = len;
    }

    /// The columns so far and the number of objects; leaves it empty.
    pub(super) fn finish(&mut self) -> (Fields, Vec<ArrayRef>, usize) {
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        if let Unknown::Rescue(rescued) = &mut self.unknown {
            arrays.push(rescued.finish());
        }
        (self.fields.clone(), arrays, std::mem::take(&mut self.len))
    }
}

/// The name, quotes included, at the beginning of what stands before a value.
fn name_in(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    text.strip_suffix(b":").unwrap_or(text).trim_ascii_end()
}
