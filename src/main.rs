//! The `sluice` binary: hands the command line to [`sluice::cli`] and exits with its code.

use std::process::ExitCode;

// librdkafka allocates and frees each fetch buffer and message on its own threads: replacing C's malloc as well
// (not only Rust's) saves a third of what fetching costs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sluice::cli::main()
}
