//! A JSON object into columns: the whole value, or a STRUCT in it.
//!
//! Producers write the fields of a topic in one order, so the field that followed last time is expected first, by its
//! bytes `"name":`; only another one is looked up.

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;

use super::super::flaw::{Flaw, Reject, Scan, Step};
use super::column::Column;
use super::scan::{Scanner, Token};

pub(super) struct Object {
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
    refuse_unknown: bool,
}

impl Object {
    pub(super) fn new(fields: Fields, columns: Vec<Column>, refuse_unknown: bool) -> Self {
        let names = fields.iter().map(|field| field.name());
        let token = |name: &String| format!("{}:", serde_json::Value::from(name.as_str()));
        let tokens = names.clone().map(|name| Token::new(token(name))).collect();
        let mut sorted: Vec<(Box<[u8]>, usize)> =
            names.enumerate().map(|(index, name)| (name.as_bytes().into(), index)).collect();
        sorted.sort_unstable();
        let successors =
            (1..=columns.len()).map(|next| next % columns.len().max(1)).chain([0]).collect();
        Self { fields, columns, tokens, names: sorted, successors, len: 0, refuse_unknown }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Reads the object whose `{` stands here.
    pub(super) fn read(&mut self, json: &mut Scanner<'_>) -> Scan<()> {
        json.enter()?;
        let mut seen = 0;
        if !json.closes(b'}') {
            let mut previous = self.columns.len();
            loop {
                let name_at = json.at();
                if let Some(index) = self.field(json, previous)? {
                    self.value(json, index, name_at)?;
                    (previous, seen) = (index, seen + 1);
                } else if self.refuse_unknown {
                    return Err(Reject::new(Flaw::Unknown, name_at));
                } else {
                    json.skip_value()?;
                }
                if !json.another(b'}')? {
                    break;
                }
            }
        }
        if seen < self.columns.len() {
            self.fill_missing(json.at() - 1)?;
        }
        self.len += 1;
        Ok(())
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
        self.len += 1;
    }

    /// Drops all objects from `len` on, complete or not.
    pub(super) fn truncate(&mut self, len: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(len));
        self.len = len;
    }

    /// The columns so far and the number of objects; leaves it empty.
    pub(super) fn finish(&mut self) -> (Fields, Vec<ArrayRef>, usize) {
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        (self.fields.clone(), arrays, std::mem::take(&mut self.len))
    }
}
