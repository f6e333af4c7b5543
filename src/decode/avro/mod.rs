//! Avro's binary encoding into Arrow columns.
//!
//! Owns what is accepted (docs/reference/avro.md): the framing before a datum, which schema it was written with, and
//! what of that goes into which column. A schema is compiled once into steps that append straight to the columns'
//! buffers (docs/adr/0005); a flaw rolls its row back and leaves the others. Allocates nothing per value, but for a bad
//! one.
//!
//! Parsing schemas is `apache_avro`'s; asking a registry for them is not done here.

mod column;
mod columns;
mod default;
mod flaw;
mod json_text;
mod merge;
mod parse;
mod plan;
mod step;
mod types;
mod wire;

pub(super) use flaw::Flaw;
