//! To come.
pub mod plan;
pub mod retry;
pub mod trigger;
