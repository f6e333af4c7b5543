//! Configuration: raw YAML → validate → types that can't be wrong.

mod spec;

pub use spec::*;
