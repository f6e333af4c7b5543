//! What can be wrong with an Avro record beyond what any format's can be; docs/reference/avro.md lists the codes.

use std::sync::Arc;

/// One kind of fault. Counts, lengths and names of types are no payload; values are, and aren't told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Flaw {
    NoPrefix(u8),
    NoMagic,
    Fingerprint,
    UnknownId(u32),
    /// The sentence says it all.
    Schema(Arc<str>),
    IntTooLong,
    LongTooLong,
    Boolean(u8),
    NegativeLength,
    Length,
    Branch,
    Symbol,
    BlockCount,
    BlockSize,
    TooManyValues,
    Trailing(usize),
    /// The type of a union's branch, and the column's.
    Refused(Arc<str>),
    NoDigits,
}

impl Flaw {
    pub(in super::super) fn code(&self) -> &'static str {
        match self {
            Self::NoPrefix(_) => "SL3050",
            Self::NoMagic => "SL3051",
            Self::Fingerprint => "SL3052",
            Self::UnknownId(_) => "SL3053",
            Self::Schema(_) => "SL3054",
            Self::IntTooLong => "SL3055",
            Self::LongTooLong => "SL3056",
            Self::Boolean(_) => "SL3057",
            Self::NegativeLength => "SL3058",
            Self::Length => "SL3059",
            Self::Branch => "SL3060",
            Self::Symbol => "SL3061",
            Self::BlockCount => "SL3062",
            Self::BlockSize => "SL3063",
            Self::TooManyValues => "SL3064",
            Self::Trailing(_) => "SL3065",
            Self::Refused(_) => "SL3066",
            Self::NoDigits => "SL3067",
        }
    }

    pub(in super::super) fn sentence(&self) -> String {
        match self {
            Self::NoPrefix(byte) => format!(
                "0x{byte:02X} where the schema registry's wire format has 0x00 (`framing: confluent`)"
            ),
            Self::NoMagic => {
                "the value does not begin with C3 01 and a fingerprint (`framing: single_object`)"
                    .into()
            }
            Self::Fingerprint => "the fingerprint is that of another schema".into(),
            Self::UnknownId(id) => format!("schema id {id} is not in the registry"),
            Self::Schema(reason) => reason.to_string(),
            Self::IntTooLong => "a number of more than 32 bits in an int".into(),
            Self::LongTooLong => "a number of more than 64 bits".into(),
            Self::Boolean(byte) => format!("0x{byte:02X} in a boolean"),
            Self::NegativeLength => "a negative length".into(),
            Self::Length => "a length beyond the end of the value".into(),
            Self::Branch => "the number of a type that the union does not have".into(),
            Self::Symbol => "the number of a symbol that the enum does not have".into(),
            Self::BlockCount => {
                "a block of more items than the bytes that are left can hold".into()
            }
            Self::BlockSize => "a block that is not as long as it says".into(),
            Self::TooManyValues => "arrays and maps of more values than a record may hold".into(),
            Self::Trailing(1) => "1 byte after the end of the datum".into(),
            Self::Trailing(bytes) => format!("{bytes} bytes after the end of the datum"),
            Self::Refused(reason) => reason.to_string(),
            Self::NoDigits => "a decimal of no bytes".into(),
        }
    }
}
