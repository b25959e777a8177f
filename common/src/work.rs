//! Work that blocks or computes for long: given to whoever runs it, so that threads come in from outside as time does.

use std::sync::Arc;

use futures::channel::oneshot;

/// One piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs away from the tasks that wait for them. A process has a pool of threads; a simulation has its own time.
pub type Workers = Arc<dyn Fn(Job) + Send + Sync>;

/// A job ended before it was done: it panicked, or was never begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("work in the background ended before it was done")]
pub struct Lost;

/// Runs work and waits for it. Work that has begun goes on when nobody waits any more.
pub async fn away<T: Send + 'static>(
    workers: &Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    let (done, wait) = oneshot::channel();
    workers(Box::new(move || {
        // Nobody may be waiting any more.
        _ = done.send(work());
    }));
    wait.await.map_err(|_| Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_or_lost() {
        let at_once: Workers = Arc::new(|job: Job| job());
        assert_eq!(futures::executor::block_on(away(&at_once, || 7)), Ok(7));
        let never: Workers = Arc::new(drop);
        assert_eq!(futures::executor::block_on(away(&never, || 7)), Err(Lost));
    }
}
