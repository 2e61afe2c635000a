//! The `weir` command.

use std::process::ExitCode;

/// Returning memory to the system after every chunk made plugin calls eight
/// times slower with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
