//! The `hearth` binary: reads the command line and runs it.

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc when it starts: freed pages go back to the kernel after a second, so that memory follows the heads.
// SAFETY: jemalloc declares this symbol as `const char *` and reads a C string from it; a reference to an array is such a
// pointer, and the text ends with a zero.
#[cfg(feature = "jemalloc")]
#[allow(unsafe_code, reason = "the only way to hand jemalloc its options without an environment variable")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 70] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4\0";

fn main() -> ExitCode {
    hearth::cli::main()
}
