//! What can be wrong with a record, each kind with a stable code and a sentence.
//!
//! A sentence names the column's path and the byte in the value or the key, and never quotes them: at most one byte
//! of it, as `0x7D`. docs/reference/json.md and debezium.md list the codes.

use std::fmt;

/// JSON levels (objects and arrays) in one value; deeper ones are refused, in ignored fields too, so that no
/// value can exhaust the stack. RFC 8259 section 9 allows a limit.
pub(super) const MAX_LEVELS: usize = 64;

/// 0001-01-01T00:00:00 and 10000-01-01T00:00:00, in microseconds: what all readers of the tables can show.
pub(super) const FIRST_MICROS: i64 = -719_162 * 86_400_000_000;
pub(super) const END_MICROS: i64 = 2_932_897 * 86_400_000_000;

/// Microseconds since the epoch, if they are in the years 0001 to 9999.
#[inline]
pub(super) fn bounded(micros: i64) -> Result<i64, Flaw> {
    if (FIRST_MICROS..END_MICROS).contains(&micros) { Ok(micros) } else { Err(Flaw::Years) }
}

/// One kind of fault in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    Empty,
    NotAnObject(Found),
    WireFormat,
    ByteOrderMark,
    Unexpected { found: u8, wanted: &'static str },
    EndsEarly,
    Trailing(u8),
    Utf8,
    Control(u8),
    Escape(u8),
    Surrogate,
    Number(&'static str),
    NotFinite,
    TooDeep,
    FieldTwice,
    KeyTwice,
    Missing,
    Null,
    Unknown,
    Type(Found),
    Fraction,
    IntegerRange,
    FloatRange,
    DecimalRange,
    DecimalScale,
    Date,
    Timestamp,
    NoSuchTime,
    Zone,
    ClockGap(&'static str),
    Years,
    Submicroseconds,
    Base64,
    TooLarge { bytes: u64, limit: u64 },
    HeaderName,
    KafkaTimestamp,
    NoPrefix,
    NoPayload,
    NoOperation,
    Operation,
    NoRow(&'static str),
    NoAfter,
    NoBefore,
    Avro(super::avro::Flaw),
}

/// What of a record is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Value,
    /// A value that is Debezium's change event: its columns are those of the row inside.
    Change,
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value | Self::Change => "value",
            Self::Key => "key",
        })
    }
}

/// The kind of JSON value that a first byte announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    String,
    Number,
    Boolean,
    Null,
    Object,
    Array,
}

impl Flaw {
    /// Stable: people filter dead letters by it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Empty => "SL3001",
            Self::NotAnObject(_) => "SL3002",
            Self::WireFormat => "SL3003",
            Self::ByteOrderMark => "SL3004",
            Self::Unexpected { .. } => "SL3005",
            Self::EndsEarly => "SL3006",
            Self::Trailing(_) => "SL3007",
            Self::Utf8 => "SL3008",
            Self::Control(_) => "SL3009",
            Self::Escape(_) => "SL3010",
            Self::Surrogate => "SL3011",
            Self::Number(_) => "SL3012",
            Self::NotFinite => "SL3013",
            Self::TooDeep => "SL3014",
            Self::FieldTwice => "SL3015",
            Self::KeyTwice => "SL3016",
            Self::Missing => "SL3017",
            Self::Null => "SL3018",
            Self::Unknown => "SL3019",
            Self::Type(_) => "SL3020",
            Self::Fraction => "SL3021",
            Self::IntegerRange => "SL3022",
            Self::FloatRange => "SL3023",
            Self::DecimalRange => "SL3024",
            Self::DecimalScale => "SL3025",
            Self::Date => "SL3026",
            Self::Timestamp => "SL3027",
            Self::NoSuchTime => "SL3028",
            Self::Zone => "SL3029",
            Self::ClockGap(_) => "SL3030",
            Self::Years => "SL3031",
            Self::Submicroseconds => "SL3032",
            Self::Base64 => "SL3033",
            Self::TooLarge { .. } => "SL3034",
            Self::HeaderName => "SL3035",
            Self::KafkaTimestamp => "SL3036",
            Self::NoPrefix => "SL3080",
            Self::NoPayload => "SL3081",
            Self::NoOperation => "SL3082",
            Self::Operation => "SL3083",
            Self::NoRow(_) => "SL3084",
            Self::NoAfter => "SL3085",
            Self::NoBefore => "SL3086",
            Self::Avro(flaw) => flaw.code(),
        }
    }

    /// What is wrong with a part of a record, for a column declared as `declared`.
    fn sentence(&self, part: Part, declared: &str) -> String {
        match self {
            Self::Empty if part == Part::Key => "the key is empty (no key would be null)".into(),
            Self::Empty => "the value is empty (a tombstone would be null)".into(),
            Self::NotAnObject(found) => format!("the {part} is {found}, not an object"),
            Self::WireFormat => {
                "0x00 (schema registry's wire format): use Avro (`format: avro`, with Debezium \
                                 `encoding: avro`), or `framing: confluent` if JSON follows"
                    .into()
            }
            Self::ByteOrderMark => "a byte order mark, which JSON does not allow".into(),
            Self::Unexpected { found, wanted } => format!("0x{found:02X} where {wanted} should be"),
            Self::EndsEarly => format!("the {part} ends too early"),
            Self::Trailing(byte) => format!("0x{byte:02X} after the end of the object"),
            Self::Utf8 => "text that is not UTF-8".into(),
            Self::Control(byte) => {
                format!("control character 0x{byte:02X} in a string must be escaped")
            }
            Self::Escape(byte) => format!("0x{byte:02X} is no escape that JSON has"),
            Self::Surrogate => "half of a surrogate pair stands alone".into(),
            Self::Number(rule) => format!("not a JSON number: {rule}"),
            Self::NotFinite => "NaN and Infinity are not JSON".into(),
            Self::TooDeep => format!("nested deeper than {MAX_LEVELS} levels"),
            Self::FieldTwice => "the field stands there twice".into(),
            Self::KeyTwice => "a key of the map stands there twice".into(),
            Self::Missing => "the field is missing, and the column is NOT NULL".into(),
            Self::Null => "null, and the column is NOT NULL".into(),
            Self::Unknown => {
                "a field that the schema does not declare (`unknown_fields: fail`)".into()
            }
            Self::Type(found) => format!("{found}, and the column is {declared}"),
            Self::Fraction => format!("a fraction or an exponent, and the column is {declared}"),
            Self::IntegerRange => format!("the number is outside the range of {declared}"),
            Self::FloatRange => format!("the number is larger than {declared} can hold"),
            Self::DecimalRange => {
                format!("the number has more digits before the point than {declared} can hold")
            }
            Self::DecimalScale => {
                format!("the number has more digits after the point than {declared} can hold")
            }
            Self::Date => "not a date of the form YYYY-MM-DD".into(),
            Self::Timestamp => {
                "not a timestamp of the form YYYY-MM-DDTHH:MM:SS[.ffffff][zone]".into()
            }
            Self::NoSuchTime => "no such day or time of day".into(),
            Self::Zone => "a time zone, and the column is TIMESTAMP_NTZ".into(),
            Self::ClockGap(zone) => format!("a local time that clocks in {zone} skipped"),
            Self::Years => "outside the years 0001 to 9999".into(),
            Self::Submicroseconds => {
                format!("digits beyond microseconds, which {declared} would lose")
            }
            Self::Base64 => "not base64 with its padding (RFC 4648 section 4)".into(),
            Self::TooLarge { bytes, limit } => {
                format!("key and value have {bytes} bytes, and `max_message_size` is {limit}")
            }
            Self::HeaderName => {
                "a header's name is not UTF-8, and `headers` is a metadata column".into()
            }
            Self::KafkaTimestamp => {
                "the record's timestamp is outside the years 0001 to 9999".into()
            }
            Self::NoPrefix => format!(
                "the {part} does not begin with 0x00, the schema registry's wire format (`framing: confluent`)"
            ),
            Self::NoPayload => "an object with `schema`, and no `payload`".into(),
            Self::NoOperation => {
                "no `op`: not Debezium's envelope (if Debezium unwraps its events, they are plain \
                                  JSON or Avro)"
                    .into()
            }
            Self::Operation => "`op` is none of `c`, `u`, `d` and `r`".into(),
            Self::NoRow(what) => format!("{what}, which is no change of a row"),
            Self::NoAfter => "no `after`, and `op` says that there is a row".into(),
            Self::NoBefore => "no `before`, which names the row that `op` deletes".into(),
            Self::Avro(flaw) => flaw.sentence(),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
            Self::Object => "an object",
            Self::Array => "an array",
        })
    }
}

/// A fault at its place in one record. Made on the cold path only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) flaw: Flaw,
    part: Part,
    /// Byte in the value or the key; `None` when the fault is not in its bytes.
    at: Option<usize>,
    /// From the innermost step outwards.
    path: Vec<Step>,
    /// The innermost column's type, as DDL.
    declared: String,
}

/// One step from a column to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    /// An array's element or a map's entry. A map's key is payload, so entries are counted too.
    Item(usize),
}

/// The outcome of reading; boxed, so that a good one stays small.
pub(super) type Scan<T> = Result<T, Box<Reject>>;

impl Reject {
    #[cold]
    pub(super) fn new(flaw: Flaw, at: usize) -> Box<Self> {
        Box::new(Self { at: Some(at), ..Self::anywhere(flaw) })
    }

    #[cold]
    pub(super) fn outside_value(flaw: Flaw) -> Box<Self> {
        Box::new(Self::anywhere(flaw))
    }

    fn anywhere(flaw: Flaw) -> Self {
        let (path, declared) = (Vec::new(), String::new());
        Self { flaw, part: Part::Value, at: None, path, declared }
    }

    /// Says that the bytes read were the record's key.
    #[cold]
    pub(super) fn of_key(mut self: Box<Self>) -> Box<Self> {
        self.part = Part::Key;
        self
    }

    #[cold]
    pub(super) fn inside(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.path.push(step);
        self
    }

    /// Names the type of the column at fault; outer columns don't overwrite it.
    #[cold]
    pub(super) fn declared(mut self: Box<Self>, data_type: impl FnOnce() -> String) -> Box<Self> {
        if self.declared.is_empty() {
            self.declared = data_type();
        }
        self
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.part == Part::Key {
            f.write_str("key: ")?;
        }
        if !self.path.is_empty() {
            f.write_str("`")?;
            for (i, step) in self.path.iter().rev().enumerate() {
                match step {
                    Step::Field(name) if i == 0 => f.write_str(name)?,
                    Step::Field(name) => write!(f, ".{name}")?,
                    Step::Item(index) => write!(f, "[{index}]")?,
                }
            }
            f.write_str("`, ")?;
        }
        match self.at {
            Some(at) if self.flaw == Flaw::WireFormat => write!(f, "byte {at} is ")?,
            Some(at) => write!(f, "byte {at}: ")?,
            None => {}
        }
        f.write_str(&self.flaw.sentence(self.part, &self.declared))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    fn codes(text: &str) -> BTreeSet<&str> {
        let starts = text.match_indices("SL30").map(|(at, _)| at);
        starts.map(|at| &text[at..at + 6]).collect()
    }

    #[test]
    fn the_reference_pages_list_each_code() {
        let source = include_str!("flaw.rs");
        let (source, _) = source.split_once("#[cfg(test)]").expect("tests at the end");
        let pages = [
            include_str!("../../docs/reference/json.md"),
            include_str!("../../docs/reference/debezium.md"),
        ];
        assert_eq!(codes(source), pages.into_iter().flat_map(codes).collect());
        assert_eq!(codes(source).len(), 43);
    }
}
