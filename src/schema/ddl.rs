//! SQL column definitions as Spark writes them: `orderId STRING NOT NULL, tags ARRAY<STRING>`.
//!
//! [`parse`] reads them, [`format`] writes them; each is the other's inverse. Owns the type names and their
//! aliases; knows nothing of configuration files or tables. Names of columns are kept as they are spelled, and
//! those that Delta Lake or Parquet readers can't have are refused here, so that no later stage meets one.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use thiserror::Error;

use super::{TableSchema, list_type, map_type};

/// The key of a field's metadata that holds its `COMMENT`.
pub const COMMENT: &str = "comment";

/// How deep types may nest. Far more than a table needs, and small enough that no recursion over a schema, ours
/// or a reader's, can exhaust a stack.
pub const MAX_DEPTH: usize = 32;

/// Where a definition can't be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} (at byte {position})")]
pub struct DdlError {
    /// Byte offset in the text.
    pub position: usize,
    pub message: String,
}

/// Reads column definitions: `name type [NOT NULL] [COMMENT 'text']`, separated by commas.
///
/// Type names are read without regard to case. At least one column is needed.
pub fn parse(text: &str) -> Result<TableSchema, DdlError> {
    let mut parser = Parser { text, position: 0 };
    let fields = parser.fields(1)?;
    parser.skip_blanks();
    match parser.peek() {
        None => Ok(TableSchema::new(fields)),
        Some(_) => Err(parser.unexpected("a comma or the end")),
    }
}

/// Writes a schema as column definitions that [`parse`] reads back as the same schema.
pub fn format(schema: &TableSchema) -> String {
    let columns: Vec<String> =
        schema.arrow().fields().iter().map(|field| format_field(field, " ")).collect();
    columns.join(", ")
}

/// Writes one type: `DECIMAL(18,4)`. A type that no definition can declare is written as Arrow names it.
pub fn format_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BINARY".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP".into(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP_NTZ".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::List(element) => format!("ARRAY<{}>", format_type(element.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let [key, value] = [&pair[0], &pair[1]].map(|f| format_type(f.data_type()));
                format!("MAP<{key}, {value}>")
            }
            other => format!("MAP<{other}>"),
        },
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|f| format_field(f, ": ")).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn format_field(field: &Field, separator: &str) -> String {
    let mut text = format_name(field.name());
    text.push_str(separator);
    text.push_str(&format_type(field.data_type()));
    if !field.is_nullable() {
        text.push_str(" NOT NULL");
    }
    if let Some(comment) = field.metadata().get(COMMENT) {
        text.push_str(" COMMENT '");
        text.push_str(&comment.replace('\\', "\\\\").replace('\'', "\\'"));
        text.push('\'');
    }
    text
}

fn format_name(name: &str) -> String {
    if !name.is_empty() && name.bytes().all(is_word) {
        name.to_owned()
    } else {
        format!("`{}`", name.replace('`', "``"))
    }
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    /// One or more definitions, up to what can't continue them.
    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, DdlError> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            self.skip_blanks();
            let start = self.position;
            let field = self.field(depth)?;
            if let Some(twin) = fields.iter().find(|f| same_name(f.name(), field.name())) {
                return Err(DdlError {
                    position: start,
                    message: format!(
                        "`{}` and `{}` are the same name to Delta Lake, which ignores case; rename one",
                        twin.name(),
                        field.name()
                    ),
                });
            }
            fields.push(field);
            if !self.take(b',') {
                return Ok(fields);
            }
        }
    }

    fn field(&mut self, depth: usize) -> Result<Field, DdlError> {
        let name = self.name()?;
        self.take(b':'); // `a INT` or `a: INT`, in a STRUCT as at the top level, as in Spark
        let data_type = self.data_type(&name, depth)?;
        let mut field = Field::new(name, data_type, true);
        loop {
            let start = self.skip_blanks();
            match self.word().to_ascii_uppercase().as_str() {
                "" => return Ok(field),
                "NOT" if field.is_nullable() => {
                    self.keyword("NULL", "`NULL` after `NOT`")?;
                    field = field.with_nullable(false);
                }
                "COMMENT" if field.metadata().is_empty() => {
                    let comment = self.quoted_text()?;
                    field = field.with_metadata(HashMap::from([(COMMENT.to_owned(), comment)]));
                }
                _ => {
                    self.position = start;
                    return Err(self.unexpected("a comma, `NOT NULL` or `COMMENT`"));
                }
            }
        }
    }

    /// A column's name, plain or in back quotes.
    fn name(&mut self) -> Result<String, DdlError> {
        let start = self.skip_blanks();
        let name = if self.peek() == Some(b'`') {
            self.delimited(b'`', "back quote")?
        } else {
            self.word().to_owned()
        };
        if name.is_empty() && self.position == start {
            return Err(self.unexpected(
                "a column name (other names than letters, digits and `_` go in back quotes)",
            ));
        }
        let refused = |message: String| Err(DdlError { position: start, message });
        if name.is_empty() {
            return refused("a column name is empty".into());
        }
        match super::unfit_in_name(&name) {
            Some(c) => refused(format!(
                "the name `{}` holds {c:?}, which Parquet readers refuse; rename the column",
                name.escape_debug()
            )),
            None => Ok(name),
        }
    }

    /// A type. `owner` is the column that it is for, as messages name it.
    fn data_type(&mut self, owner: &str, depth: usize) -> Result<DataType, DdlError> {
        let start = self.skip_blanks();
        if depth > MAX_DEPTH {
            return Err(self.fail(format!("types nest deeper than {MAX_DEPTH}")));
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.unexpected(&format!("the type of `{owner}`")));
        }
        Ok(match word.to_ascii_uppercase().as_str() {
            "STRING" => DataType::Utf8,
            "BINARY" => DataType::Binary,
            "BOOLEAN" => DataType::Boolean,
            "BYTE" | "TINYINT" => DataType::Int8,
            "SHORT" | "SMALLINT" => DataType::Int16,
            "INT" | "INTEGER" => DataType::Int32,
            "LONG" | "BIGINT" => DataType::Int64,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => super::timestamp_type(),
            "TIMESTAMP_NTZ" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "ARRAY" => self.array(owner, depth)?,
            "MAP" => self.map(owner, depth)?,
            "STRUCT" => self.structure(depth)?,
            other => {
                let message = format!("`{word}` is not a type{}", hint(other));
                return Err(DdlError { position: start, message });
            }
        })
    }

    /// `(precision[,scale])`, or nothing for Spark's default of (10,0).
    fn decimal(&mut self) -> Result<DataType, DdlError> {
        if !self.take(b'(') {
            return Ok(DataType::Decimal128(10, 0));
        }
        let start = self.skip_blanks();
        let precision = self.number("the precision of the DECIMAL")?;
        let scale = if self.take(b',') { self.number("the scale of the DECIMAL")? } else { 0 };
        self.expect(b')')?;
        let refused = |message: String| Err(DdlError { position: start, message });
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(p @ 1..=38), Ok(s)) if scale <= precision => Ok(DataType::Decimal128(p, s)),
            (Ok(1..=38), _) => refused(format!(
                "DECIMAL({precision},{scale}): the scale can't be larger than the precision"
            )),
            _ => refused(format!("DECIMAL({precision},{scale}): the precision must be 1 to 38")),
        }
    }

    fn array(&mut self, owner: &str, depth: usize) -> Result<DataType, DdlError> {
        self.expect(b'<')?;
        let element = self.data_type(owner, depth + 1)?;
        self.expect(b'>')?;
        Ok(list_type(element))
    }

    fn map(&mut self, owner: &str, depth: usize) -> Result<DataType, DdlError> {
        self.expect(b'<')?;
        let key = self.data_type(owner, depth + 1)?;
        self.expect(b',')?;
        let value = self.data_type(owner, depth + 1)?;
        self.expect(b'>')?;
        Ok(map_type(key, value))
    }

    fn structure(&mut self, depth: usize) -> Result<DataType, DdlError> {
        self.expect(b'<')?;
        if self.take(b'>') {
            return Err(self.fail("a STRUCT without fields can't be stored in Parquet".into()));
        }
        let fields = self.fields(depth + 1)?;
        self.expect(b'>')?;
        let fields: Vec<FieldRef> = fields.into_iter().map(Arc::new).collect();
        Ok(DataType::Struct(fields.into()))
    }

    /// Text in single or double quotes. A backslash takes the next character as it is, but for `\n`, `\r`, `\t`.
    fn quoted_text(&mut self) -> Result<String, DdlError> {
        self.skip_blanks();
        match self.peek() {
            Some(quote @ (b'\'' | b'"')) => self.delimited(quote, "quote"),
            _ => Err(self.unexpected("text in quotes after `COMMENT`")),
        }
    }

    /// Text between two of `quote`; the quote itself is doubled inside.
    fn delimited(&mut self, quote: u8, quote_name: &str) -> Result<String, DdlError> {
        let start = self.position;
        let escapes = quote != b'`';
        let quote = char::from(quote);
        let mut text = String::new();
        let mut rest = self.text[start + 1..].char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            if c == quote {
                if rest.next_if(|(_, next)| *next == quote).is_none() {
                    self.position = start + 1 + at + c.len_utf8();
                    return Ok(text);
                }
                text.push(quote);
            } else if c == '\\' && escapes {
                text.extend(rest.next().map(|(_, escaped)| unescape(escaped)));
            } else {
                text.push(c);
            }
        }
        Err(self.fail(format!("a {quote_name} is not closed")))
    }

    fn number(&mut self, what: &str) -> Result<u32, DdlError> {
        let start = self.skip_blanks();
        let word = self.word();
        word.parse().map_err(|_| {
            self.position = start;
            self.unexpected(what)
        })
    }

    fn keyword(&mut self, keyword: &str, what: &str) -> Result<(), DdlError> {
        let start = self.skip_blanks();
        if self.word().eq_ignore_ascii_case(keyword) {
            return Ok(());
        }
        self.position = start;
        Err(self.unexpected(what))
    }

    /// Letters, digits and `_` from here on; may be empty.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.position..];
        let length = rest.bytes().position(|b| !is_word(b)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    /// Moves past white space; answers where it stands then.
    fn skip_blanks(&mut self) -> usize {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.position += 1;
        }
        self.position
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), DdlError> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{}`", char::from(wanted))))
    }

    fn unexpected(&self, wanted: &str) -> DdlError {
        let rest = &self.text[self.position..];
        let word = rest.bytes().position(|b| !is_word(b)).unwrap_or(rest.len());
        let found = match rest.chars().next() {
            None => "the end".to_owned(),
            Some(first) if word == 0 => format!("`{}`", first.escape_debug()),
            Some(_) => format!("`{}`", &rest[..word]),
        };
        self.fail(format!("expected {wanted}, found {found}"))
    }

    fn fail(&self, message: String) -> DdlError {
        DdlError { position: self.position, message }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Delta Lake compares names without regard to case.
fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

fn unescape(escaped: char) -> char {
    match escaped {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

/// What to write instead of a type that other systems have, or that is misspelt.
fn hint(upper: &str) -> String {
    const TYPES: [&str; 23] = [
        "STRING",
        "BINARY",
        "BOOLEAN",
        "BYTE",
        "TINYINT",
        "SHORT",
        "SMALLINT",
        "INT",
        "INTEGER",
        "LONG",
        "BIGINT",
        "FLOAT",
        "REAL",
        "DOUBLE",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_NTZ",
        "DECIMAL",
        "NUMERIC",
        "ARRAY",
        "MAP",
        "STRUCT",
        "TIMESTAMP_LTZ",
    ];
    let instead = match upper {
        "VARCHAR" | "CHAR" | "CHARACTER" | "TEXT" | "UUID" | "JSON" | "ENUM" | "INTERVAL"
        | "TIME" | "VARIANT" => "STRING",
        "BYTES" | "BLOB" | "VARBINARY" | "BYTEA" => "BINARY",
        "BOOL" => "BOOLEAN",
        "INT8" => "TINYINT",
        "INT16" => "SMALLINT",
        "INT32" => "INT",
        "INT64" | "UINT32" => "BIGINT",
        "FLOAT32" => "FLOAT",
        "FLOAT64" => "DOUBLE",
        "DATETIME" | "TIMESTAMPTZ" => "TIMESTAMP",
        "LIST" => "ARRAY",
        "ROW" | "RECORD" | "OBJECT" => "STRUCT",
        _ => "",
    };
    if !instead.is_empty() {
        return format!("; use {instead}");
    }
    TYPES
        .into_iter()
        .map(|name| (strsim::osa_distance(name, upper), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len() / 2)
        .min()
        .map(|(_, name)| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
