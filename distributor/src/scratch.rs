//! What a thread works with: its buffers, how large what it inflates may be, and where long work is done.
//!
//! Must not know: what becomes of a profile.

use std::cell::RefCell;

use hearth_common::limits::raise;
use hearth_common::units::si_bytes;
use hearth_common::{TenantLimits, Turn};
use hearth_formats::gunzip::{InflateError, Inflater, is_gzip};
use hearth_formats::pprof::Pprof;
use hearth_rpc::may_block;

use crate::pipeline::Work;
use crate::reject::{Reason, Rejected};

/// A request of at least so many bytes is worked on apart from the threads that serve sockets.
const INLINE_BYTES_MAX: usize = 1 << 20;
/// Buffers of a thread that have grown beyond this are given back.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// The same for the arrays of a profile: one of the default limit of 4 MiB needs about so much.
const ARRAYS_KEPT_BYTES_MAX: usize = 32 << 20;

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) inflater: Inflater,
    pub(crate) raw: Vec<u8>,
    pub(crate) pprof: Pprof<'static>,
    pub(crate) work: Work,
}

/// The bytes of a profile: inflated into `buffer` when they are gzip.
pub(crate) fn decoded<'b>(
    inflater: &mut Inflater,
    profile: &'b [u8],
    limits: &TenantLimits,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Rejected> {
    let limit = profile_limit_bytes(limits);
    let too_large = || too_large(limit);
    if !is_gzip(profile) {
        return if profile.len() > limit { Err(too_large()) } else { Ok(profile) };
    }
    match inflater.inflate(profile, limit, buffer) {
        Ok(()) => Ok(buffer),
        Err(InflateError::TooLarge { .. }) => Err(too_large()),
        Err(error) => Err(Rejected::malformed(format!("failed to decompress profile: {error}"))),
    }
}

/// Bytes of a decoded profile.
pub(crate) fn profile_limit_bytes(limits: &TenantLimits) -> usize {
    let own = limits.max_profile_size_bytes;
    if own == 0 { body_limit_bytes(limits) } else { own }
}

/// A profile is larger than its limit.
pub(crate) fn too_large(limit_bytes: usize) -> Rejected {
    let message =
        format!("uncompressed profile payload size exceeds limit of {}", si_bytes(limit_bytes as u64));
    let message = message + &raise("max_profile_size_bytes");
    Rejected::invalid(Reason::ProfileSizeLimit, message)
}

/// Bytes of a request body; `usize::MAX` when the limit is off.
pub(crate) fn body_limit_bytes(limits: &TenantLimits) -> usize {
    limits.ingestion_body_limit_bytes().unwrap_or(usize::MAX)
}

/// Runs work of a turn: where it is, when it is short or when the runtime has one thread; work that gives way is never done on the threads that serve sockets.
pub(crate) fn in_turn<T: Send>(turn: &Turn, bytes: usize, work: impl FnOnce() -> T + Send) -> T {
    if turn.gives_way() && may_block() {
        return tokio::task::block_in_place(|| turn.run(work));
    }
    if bytes >= INLINE_BYTES_MAX && may_block() { tokio::task::block_in_place(work) } else { work() }
}

thread_local! {
    static SCRATCH: RefCell<Option<Box<Scratch>>> = const { RefCell::new(None) };
}

/// Lends the buffers of this thread; they are lost when `work` panics.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|kept| {
        let mut scratch = kept.borrow_mut().take().unwrap_or_default();
        let out = work(&mut scratch);
        // What the arrays of `work` take follows from those of the profile.
        if scratch.raw.capacity() <= KEPT_BYTES_MAX && scratch.pprof.capacity_bytes() <= ARRAYS_KEPT_BYTES_MAX
        {
            *kept.borrow_mut() = Some(scratch);
        }
        out
    })
}
