//! The `sluice` binary: hands the command line to [`sluice::cli`] and exits with its code.

use std::process::ExitCode;

// librdkafka allocates and frees each fetch buffer and message on its own threads: replacing C's malloc as well
// (not only Rust's) saves a third of what fetching costs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is freed goes back to the system after a second, and not after ten: an epoch is read, merged and written down in memory
/// of different sizes, which would add up. And as many arenas as threads work at once, instead of four for each processor
/// of the machine, of which a container has only a few.
#[expect(unsafe_code, reason = "jemalloc looks for it under this name, which nothing else has")]
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_OPTIONS: Option<&'static std::ffi::c_char> =
    Some(unsafe { &*c"narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0".as_ptr() });

fn main() -> ExitCode {
    sluice::cli::main()
}
