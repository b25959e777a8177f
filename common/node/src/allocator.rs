//! The allocator of our binaries, as a macro: the two statics have to stand in the binary's own crate.

/// Makes jemalloc the binary's allocator.
#[cfg(feature = "jemalloc")]
#[macro_export]
macro_rules! allocator {
    () => {
        #[global_allocator]
        static ALLOCATOR: $crate::tikv_jemallocator::Jemalloc = $crate::tikv_jemallocator::Jemalloc;

        /// Read by jemalloc when it starts: freed pages go back to the kernel after a second, so that memory follows what
        /// is in use.
        // Where memory is taken is noted only when it is asked for (`prof_active`), then for one of 512 KiB.
        // SAFETY: jemalloc declares this symbol as `const char *` and reads a C string from it; a reference to an array is
        // such a pointer, and the text ends with a zero.
        #[allow(
            unsafe_code,
            reason = "the only way to hand jemalloc its options without an environment variable"
        )]
        #[unsafe(export_name = "_rjem_malloc_conf")]
        pub static MALLOC_CONF: &[u8; 116] =
            b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4,prof:true,prof_active:false,lg_prof_sample:19\0";
    };
}

/// The system's allocator stays.
#[cfg(not(feature = "jemalloc"))]
#[macro_export]
macro_rules! allocator {
    () => {};
}
