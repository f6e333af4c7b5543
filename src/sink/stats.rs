//! The statistics of a data file: Delta's `add.stats`, by which readers skip files.
//!
//! Owns: which columns are indexed, and the JSON text (Delta protocol, "Per-file Statistics").
//! Guarantees: a minimum is never above, a maximum never below a value of the file; a bound that can't be
//! said truly is left out. Costs nothing per row: bounds and null counts come from the Parquet chunks'
//! statistics; only NaNs, and NULLs of lists and maps, are counted as batches pass.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Datelike, NaiveDate};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use super::partitions::decimal_text;

/// Characters of a string bound, as Spark and delta-rs cut them.
const STRING_BOUND_CHARS: usize = 32;

/// Where Parquet may cut a bound: behind the characters that count, at up to four bytes each, so that a cut
/// there never moves ours.
pub(super) const PARQUET_STATISTICS_BYTES: usize = STRING_BOUND_CHARS * 4 + 32;

/// `delta.dataSkippingNumIndexedCols` where a table doesn't say.
const DEFAULT_INDEXED_LEAVES: i64 = 32;

/// The leaf columns of a table that have statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexedColumns {
    /// From the top-level column down, in the table's spelling.
    paths: BTreeSet<Vec<String>>,
}

impl IndexedColumns {
    /// By the table's properties `delta.dataSkippingStatsColumns` or `delta.dataSkippingNumIndexedCols`
    /// (-1: all); else the first 32 leaves. Partition columns are never among them.
    pub fn of(
        table: &Schema,
        partition_columns: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Self {
        let leaves = Self::leaves(table, partition_columns);
        let paths = match properties.get("delta.dataSkippingStatsColumns") {
            Some(list) => {
                let named = parse_column_list(list);
                leaves.into_iter().filter(|l| named.iter().any(|n| is_prefix(n, l))).collect()
            }
            None => {
                let limit = properties
                    .get("delta.dataSkippingNumIndexedCols")
                    .and_then(|text| text.trim().parse().ok())
                    .unwrap_or(DEFAULT_INDEXED_LEAVES);
                leaves.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
            }
        };
        Self { paths }
    }

    /// All leaf columns that could be indexed, in the table's order. A list or a map is one leaf.
    pub fn leaves(table: &Schema, partition_columns: &[String]) -> Vec<Vec<String>> {
        let mut leaves = Vec::new();
        for field in table.fields() {
            if !partition_columns.contains(field.name()) {
                leaf_paths(field, &mut Vec::new(), &mut leaves);
            }
        }
        leaves
    }

    /// Whether the leaf at this path, or any leaf below it, is indexed.
    pub fn contains(&self, path: &[String]) -> bool {
        self.paths.iter().any(|p| p.starts_with(path))
    }
}

fn leaf_paths(field: &Field, parents: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    parents.push(field.name().clone());
    match field.data_type() {
        DataType::Struct(children) => children.iter().for_each(|c| leaf_paths(c, parents, out)),
        _ => out.push(parents.clone()),
    }
    parents.pop();
}

fn is_prefix(named: &[String], leaf: &[String]) -> bool {
    named.len() <= leaf.len() && named.iter().zip(leaf).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// A list such as ``a, b.c, `odd,name` `` as paths.
pub(super) fn parse_column_list(list: &str) -> Vec<Vec<String>> {
    let mut columns = vec![vec![String::new()]];
    let mut quoted = false;
    for c in list.chars() {
        let path = columns.last_mut().expect("never empty");
        match c {
            '`' => quoted = !quoted,
            ',' if !quoted => columns.push(vec![String::new()]),
            '.' if !quoted => path.push(String::new()),
            c if c.is_whitespace() && !quoted => {}
            c => path.last_mut().expect("never empty").push(c),
        }
    }
    columns.retain(|path| path.iter().any(|part| !part.is_empty()));
    columns
}

/// Collects the statistics of one file.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    /// Position among its siblings in the file's schema.
    position: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Struct(Vec<Node>),
    /// NULLs only, counted as batches pass: Parquet counts a list's elements, not its rows.
    Counted {
        nulls: u64,
    },
    /// From the statistics of the Parquet leaf column with this number.
    Chunk {
        leaf: usize,
        bound: Bound,
    },
}

/// How a column's bounds are written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// No bounds, NULLs only.
    None,
    Int,
    Date,
    Timestamp {
        utc: bool,
    },
    Decimal {
        scale: i8,
    },
    /// A NaN sorts differently with every reader, so one means no bounds.
    Float {
        nan_seen: bool,
    },
    Text,
}

impl Collector {
    /// For files of this schema (without partition columns).
    pub(super) fn new(file: &Schema, indexed: &IndexedColumns) -> Self {
        Self { nodes: nodes(file.fields(), indexed, &mut Vec::new(), &mut 0) }
    }

    /// Notes what the Parquet statistics will not tell of these rows.
    pub(super) fn observe(&mut self, batch: &RecordBatch) {
        observe(&mut self.nodes, batch.columns(), None);
    }

    /// Delta's `stats` text of the finished file.
    pub(super) fn render(&self, file: &ParquetMetaData) -> String {
        let mut out = format!("{{\"numRecords\":{}", file.file_metadata().num_rows());
        let bounds = |node: &Node| node.bounds(file);
        for (key, text) in [
            ("minValues", object(&self.nodes, &|n| bounds(n)?.0)),
            ("maxValues", object(&self.nodes, &|n| bounds(n)?.1)),
            ("nullCount", object(&self.nodes, &|n| n.null_count(file).map(|n| n.to_string()))),
        ] {
            out.push_str(&format!(",\"{key}\":{{{}}}", text.unwrap_or_default()));
        }
        out.push('}');
        out
    }
}

fn nodes(
    fields: &Fields,
    indexed: &IndexedColumns,
    parents: &mut Vec<String>,
    next_leaf: &mut usize,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (position, field) in fields.iter().enumerate() {
        parents.push(field.name().clone());
        let kind = match field.data_type() {
            DataType::Struct(children) => {
                Kind::Struct(self::nodes(children, indexed, parents, next_leaf))
            }
            nested if nested.is_nested() => {
                *next_leaf += parquet_leaves(nested);
                Kind::Counted { nulls: 0 }
            }
            primitive => {
                *next_leaf += 1;
                Kind::Chunk { leaf: *next_leaf - 1, bound: Bound::of(primitive) }
            }
        };
        if indexed.contains(parents) {
            nodes.push(Node { name: field.name().clone(), position, kind });
        }
        parents.pop();
    }
    nodes
}

fn parquet_leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|f| parquet_leaves(f.data_type())).sum(),
        DataType::List(item) => parquet_leaves(item.data_type()),
        DataType::Map(entries, _) => parquet_leaves(entries.data_type()),
        _ => 1,
    }
}

fn observe(nodes: &mut [Node], columns: &[ArrayRef], parent: Option<&NullBuffer>) {
    for node in nodes {
        let column = &columns[node.position];
        match &mut node.kind {
            Kind::Struct(children) => {
                let nulls = NullBuffer::union(parent, column.nulls());
                observe(children, column.as_struct().columns(), nulls.as_ref());
            }
            Kind::Counted { nulls } => {
                let all = NullBuffer::union(parent, column.nulls());
                *nulls += all.map_or(0, |n| n.null_count()) as u64;
            }
            Kind::Chunk { bound: Bound::Float { nan_seen }, .. } if !*nan_seen => {
                let nulls = NullBuffer::union(parent, column.nulls());
                *nan_seen = match column.data_type() {
                    DataType::Float32 => any_nan::<Float32Type>(column, nulls, |v| v.is_nan()),
                    _ => any_nan::<Float64Type>(column, nulls, |v| v.is_nan()),
                };
            }
            Kind::Chunk { .. } => {}
        }
    }
}

/// Looks at all slots first, null or not, which takes some nanoseconds a hundred rows.
fn any_nan<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    nulls: Option<NullBuffer>,
    is_nan: fn(T::Native) -> bool,
) -> bool {
    let values = column.as_primitive::<T>().values();
    values.iter().fold(false, |any, v| any | is_nan(*v))
        && (0..values.len())
            .any(|row| is_nan(values[row]) && nulls.as_ref().is_none_or(|n| n.is_valid(row)))
}

impl Bound {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Int,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Timestamp { utc: zone.is_some() }
            }
            DataType::Decimal128(_, scale) => Self::Decimal { scale: *scale },
            DataType::Float32 | DataType::Float64 => Self::Float { nan_seen: false },
            DataType::Utf8 => Self::Text,
            // Spark keeps none for booleans and binaries either.
            _ => Self::None,
        }
    }

    fn min_text(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Timestamp { utc }, Value::Int(us)) => timestamp(us.div_euclid(1000), utc),
            (Self::Text, Value::Bytes(text)) => quote(prefix(std::str::from_utf8(text).ok()?)),
            _ => self.exact_text(value),
        }
    }

    fn max_text(self, value: &Value) -> Option<String> {
        match (self, value) {
            // Rounded up: readers that don't know that writers cut to milliseconds stay right.
            (Self::Timestamp { utc }, Value::Int(us)) => {
                timestamp(us.div_euclid(1000) + i64::from(us.rem_euclid(1000) != 0), utc)
            }
            (Self::Text, Value::Bytes(text)) => {
                quote(&upper_bound(std::str::from_utf8(text).ok()?)?)
            }
            _ => self.exact_text(value),
        }
    }

    fn exact_text(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Int, Value::Int(v)) => Some(v.to_string()),
            (Self::Date, Value::Int(days)) => date(*days),
            (Self::Decimal { scale }, Value::Int(v)) => Some(decimal_text(i128::from(*v), scale)),
            (Self::Decimal { scale }, Value::Decimal(v)) => Some(decimal_text(*v, scale)),
            // `{:?}` is the shortest text that reads back as the same number; JSON has no infinity.
            (Self::Float { nan_seen: false }, Value::Float(v)) => {
                v.is_finite().then(|| format!("{v:?}"))
            }
            (Self::Float { nan_seen: false }, Value::Double(v)) => {
                v.is_finite().then(|| format!("{v:?}"))
            }
            _ => None,
        }
    }
}

/// A bound as Parquet keeps it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Value {
    Int(i64),
    Float(f32),
    Double(f64),
    Decimal(i128),
    Bytes(Vec<u8>),
}

impl Node {
    /// The minimum's and the maximum's text.
    fn bounds(&self, file: &ParquetMetaData) -> Option<(Option<String>, Option<String>)> {
        let Kind::Chunk { leaf, bound } = &self.kind else {
            return None;
        };
        let mut all: Option<(Value, Value)> = None;
        for group in file.row_groups() {
            let statistics = group.column(*leaf).statistics()?;
            if statistics.null_count_opt() == u64::try_from(group.num_rows()).ok() {
                continue;
            }
            let (min, max) = chunk_bounds(statistics)?;
            all = Some(match all {
                None => (min, max),
                Some((a, b)) => (if min < a { min } else { a }, if max > b { max } else { b }),
            });
        }
        all.map(|(min, max)| (bound.min_text(&min), bound.max_text(&max)))
    }

    fn null_count(&self, file: &ParquetMetaData) -> Option<u64> {
        match &self.kind {
            Kind::Struct(_) => None,
            Kind::Counted { nulls } => Some(*nulls),
            Kind::Chunk { leaf, .. } => file
                .row_groups()
                .iter()
                .map(|group| group.column(*leaf).statistics()?.null_count_opt())
                .sum(),
        }
    }
}

fn chunk_bounds(statistics: &Statistics) -> Option<(Value, Value)> {
    Some(match statistics {
        Statistics::Int32(s) => {
            (Value::Int(i64::from(*s.min_opt()?)), Value::Int(i64::from(*s.max_opt()?)))
        }
        Statistics::Int64(s) => (Value::Int(*s.min_opt()?), Value::Int(*s.max_opt()?)),
        Statistics::Float(s) => (Value::Float(*s.min_opt()?), Value::Float(*s.max_opt()?)),
        Statistics::Double(s) => (Value::Double(*s.min_opt()?), Value::Double(*s.max_opt()?)),
        Statistics::ByteArray(s) => {
            (Value::Bytes(s.min_opt()?.data().to_vec()), Value::Bytes(s.max_opt()?.data().to_vec()))
        }
        Statistics::FixedLenByteArray(s) => (
            Value::Decimal(big_endian(s.min_opt()?.data())?),
            Value::Decimal(big_endian(s.max_opt()?.data())?),
        ),
        Statistics::Boolean(_) | Statistics::Int96(_) => return None,
    })
}

/// Two's complement of up to sixteen bytes, as Parquet stores wide decimals.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let fill = if *bytes.first()? & 0x80 != 0 { 0xff } else { 0 };
    let mut wide = [fill; 16];
    wide[16usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// The members of a JSON object, nested as the columns are; `None` where no column has a value.
fn object(nodes: &[Node], value: &dyn Fn(&Node) -> Option<String>) -> Option<String> {
    let members: Vec<String> = nodes
        .iter()
        .filter_map(|node| {
            let text = match &node.kind {
                Kind::Struct(children) => format!("{{{}}}", object(children, value)?),
                _ => value(node)?,
            };
            Some(format!("{}:{text}", serde_json::Value::from(node.name.as_str())))
        })
        .collect();
    (!members.is_empty()).then(|| members.join(","))
}

fn quote(text: &str) -> Option<String> {
    Some(serde_json::Value::from(text).to_string())
}

/// The first characters that a bound keeps.
fn prefix(text: &str) -> &str {
    match text.char_indices().nth(STRING_BOUND_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// The least text of a bound's length that is not below `text`; `None` when there is none. By code points,
/// which is also the order of UTF-8 bytes.
fn upper_bound(text: &str) -> Option<String> {
    let kept = prefix(text);
    if kept.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut chars: Vec<char> = kept.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = next_char(last) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn next_char(c: char) -> Option<char> {
    match c {
        // Surrogates are no characters.
        '\u{d7ff}' => Some('\u{e000}'),
        c => char::from_u32(c as u32 + 1),
    }
}

/// Years that every reader parses.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

fn timestamp(millis: i64, utc: bool) -> Option<String> {
    let time = DateTime::from_timestamp_millis(millis).filter(|t| YEARS.contains(&t.year()))?;
    let zone = if utc { "Z" } else { "" };
    Some(format!("\"{}{zone}\"", time.format("%Y-%m-%dT%H:%M:%S%.3f")))
}

fn date(days: i64) -> Option<String> {
    let date = days_to_date(days).filter(|d| YEARS.contains(&d.year()))?;
    Some(format!("\"{date}\""))
}

fn days_to_date(days: i64) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(i32::try_from(days).ok()?)
}

#[cfg(test)]
mod tests;
