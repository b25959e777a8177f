//! Which memory is in use, by where it was taken: from jemalloc, which notes one of so many bytes while it is told to.

#[cfg(feature = "jemalloc")]
mod sampled {
    use super::super::{Gzipped, ProfilingError};

    /// Why there is no profile, for people.
    const OFF: &str = "the heap is not profiled: set profiling.heap to true and restart";

    /// From now on memory is noted. Blocks.
    pub fn keep_heap_profile() -> Result<(), ProfilingError> {
        let failed = |why: String| ProfilingError::Heap(format!("the heap cannot be profiled: {why}"));
        let control = jemalloc_pprof::PROF_CTL.as_ref();
        let control = control.ok_or_else(|| failed("this build's jemalloc cannot".to_owned()))?;
        control.blocking_lock().activate().map_err(|error| failed(error.to_string()))
    }

    /// Memory in use that was taken since the heap is profiled. Blocks.
    pub fn heap_since_start() -> Result<Gzipped, ProfilingError> {
        let off = || ProfilingError::Heap(OFF.to_owned());
        let mut control = jemalloc_pprof::PROF_CTL.as_ref().ok_or_else(off)?.blocking_lock();
        if !control.activated() {
            return Err(off());
        }
        control
            .dump_pprof()
            .map_err(|error| ProfilingError::Heap(format!("the heap cannot be dumped: {error:#}")))
    }
}

#[cfg(not(feature = "jemalloc"))]
mod sampled {
    use super::super::{Gzipped, ProfilingError};

    const WITHOUT: &str = "the heap cannot be profiled: this build is without the feature 'jemalloc'";

    /// The system's allocator notes nothing.
    pub fn keep_heap_profile() -> Result<(), ProfilingError> {
        Err(ProfilingError::Heap(WITHOUT.to_owned()))
    }

    /// The system's allocator notes nothing.
    pub fn heap_since_start() -> Result<Gzipped, ProfilingError> {
        Err(ProfilingError::Heap(WITHOUT.to_owned()))
    }
}

pub use sampled::{heap_since_start, keep_heap_profile};
