//! Work that takes long on the threads that serve sockets.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Whether a task may block its thread ([`tokio::task::block_in_place`]): others take over its tasks where there are several
/// threads.
pub fn may_block() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
