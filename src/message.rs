//! A Kafka record as the source hands it to the decoder: borrowed, never copied.

/// One record of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub offset: i64,
    /// Milliseconds since the Unix epoch; `None` where the record has none.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Empty unless the decoder said that it wants headers.
    pub headers: &'a [Header<'a>],
}

/// One record header. Kafka allows a name more than once, and any bytes in it.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}
