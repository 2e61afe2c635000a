//! The `weir` command.

use std::process::ExitCode;

/// The system's allocator gives memory back after every chunk, which made plugin
/// calls eight times slower; mimalloc (2 and 3) kept what one thread had made and
/// another freed, and a process with 5 MiB in use grew by 10 MiB a second.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
