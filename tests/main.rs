//! The one test binary: linking the dependencies once is what a test build costs.

mod architecture;
mod commands;
mod deduplication;
mod docs;
mod engine;
mod fuzz;
mod replay;
mod source;
mod windows;
