//! The `hearth` binary: reads the command line and runs it.

use std::process::ExitCode;

hearth_node::allocator!();

fn main() -> ExitCode {
    hearth::cli::main()
}
