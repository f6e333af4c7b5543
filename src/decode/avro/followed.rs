//! The schemas that columns follow, and what they come to together.

use std::collections::BTreeMap;

use arrow::datatypes::Field;

use super::columns::columns;
use super::merge::merge;
use super::schema::Row;

/// In the order in which they were met: where two differ in what a table can't tell, the first one's stays.
#[derive(Debug, Default)]
pub(super) struct Followed {
    schemas: Vec<Schema>,
    merged: Option<Row>,
    /// What brought each column, or its newest type.
    origins: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Schema {
    pub(super) id: u32,
    /// For messages: `schema id 7`.
    pub(super) origin: String,
    /// The columns began with it: it was the newest of this subject that could be followed.
    pub(super) begins: Option<String>,
    pub(super) row: Row,
}

impl Followed {
    /// `None`: nothing is followed yet.
    pub(super) fn merged(&self) -> Option<&Row> {
        self.merged.as_ref()
    }

    /// What brought a column, or its newest type.
    pub(super) fn origin(&self, column: &str) -> Option<&str> {
        self.origins.get(column).map(String::as_str)
    }

    /// Merges a schema into the others; the answer is all of them.
    ///
    /// # Errors
    /// Why no columns can hold both; nothing has changed then.
    pub(super) fn add(&mut self, schema: Schema) -> Result<Row, String> {
        let merged = match &self.merged {
            None => schema.row.clone(),
            Some(known) => join(known, &schema.row)?,
        };
        let after = columns(&merged.record).map_err(|error| error.to_string())?;
        let before = self.merged.as_ref().map(|known| columns(&known.record));
        let before = before.and_then(Result::ok).unwrap_or_default();
        for column in changed(&before, &after) {
            self.origins.insert(column.clone(), schema.origin.clone());
        }
        if self.schemas.iter().all(|known| known.id != schema.id) {
            self.schemas.push(schema);
        }
        self.merged = Some(merged.clone());
        Ok(merged)
    }

    /// Takes a schema out, and what it brought.
    pub(super) fn remove(&mut self, origin: &str) -> Option<Schema> {
        let at = self.schemas.iter().position(|schema| schema.origin == origin)?;
        let removed = self.schemas.remove(at);
        for schema in std::mem::take(self).schemas {
            // One that merged only thanks to the other is met again with its next record.
            let _ = self.add(schema);
        }
        Some(removed)
    }
}

fn join(known: &Row, new: &Row) -> Result<Row, String> {
    if known.is_record != new.is_record {
        return Err(match new.is_record {
            true => "a record, and the schemas before it are none".into(),
            false => {
                format!("{}, and the schemas before it are records", new.record.fields[0].of)
            }
        });
    }
    let record = merge(&known.record, &new.record).map_err(|conflict| conflict.to_string())?;
    Ok(Row { record, is_record: known.is_record })
}

fn changed<'a>(before: &'a [Field], after: &'a [Field]) -> impl Iterator<Item = &'a String> {
    let is_new = |field: &&Field| !before.contains(field);
    after.iter().filter(is_new).map(Field::name)
}
