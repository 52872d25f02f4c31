//! The server's entry: sets the allocator and hands over to `narthex::cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    narthex::cli::run(std::env::args_os())
}
