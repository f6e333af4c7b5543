//! sluice moves Apache Kafka topics into Delta Lake tables in exactly-once micro-batches.
//!
//! The stages, in the order data flows. A stage imports neither another stage nor the engine; they share the
//! plain data types (`offsets`, `chunk`, `schema`, `disposition`) and the validated configuration. The test
//! `architecture` reads the `use` lines and fails on any other direction.

pub mod chunk;
pub mod disposition;
pub mod message;
pub mod offsets;
pub mod schema;

pub mod config;

pub mod decode;
pub mod sink;
pub mod source;
pub mod transform;

pub mod engine;
pub mod observability;

pub mod cli;
