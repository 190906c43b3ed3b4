//! The `menshen` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Both providers are compiled in: libraries that ask for the default panic unless there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    gateway::command::run()
}
