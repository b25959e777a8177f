//! Threads that give way to all others of the process, and what runs on them: work, and futures of the process's runtime.

use std::sync::Arc;

use futures::future::BoxFuture;
use hearth_common::GiveWay;
use rayon_core::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;

use crate::error::NodeError;
use crate::open;

/// How much nicer they are than the process: beside a thread that wants the same core they have a tenth of it.
const NICER: i32 = 10;
/// The nicest there is.
const NICEST: i32 = 19;

/// As many threads as there are cores.
pub(crate) struct NiceThreads {
    pool: Arc<ThreadPool>,
    runtime: Handle,
}

impl NiceThreads {
    /// Starts them; inside the runtime that futures belong to.
    pub(crate) fn start() -> Result<Self, NodeError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(open::cores())
            .thread_name(|_| "gives-way".to_owned())
            .start_handler(|_| be_nice())
            .build();
        let refused = |error| NodeError::System {
            doing: "start threads that give way",
            source: std::io::Error::other(error),
        };
        Ok(Self { pool: Arc::new(pool.map_err(refused)?), runtime: Handle::current() })
    }
}

/// Linux keeps niceness of each thread apart. Where it is refused, these are threads like others.
fn be_nice() {
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    _ = rustix::process::setpriority_process(None, (own + NICER).min(NICEST));
}

impl GiveWay for NiceThreads {
    fn run(&self, work: &mut (dyn FnMut() + Send)) {
        self.pool.install(work);
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        let (pool, runtime) = (Arc::clone(&self.pool), self.runtime.clone());
        let schedule = move |runnable: async_task::Runnable| {
            let runtime = runtime.clone();
            pool.spawn(move || {
                // Timers, sockets and tasks that it starts are the runtime's.
                let _inside = runtime.enter();
                runnable.run();
            });
        };
        let (runnable, task) = async_task::spawn(future, schedule);
        runnable.schedule();
        task.detach();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hearth_common::Aside;

    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).expect("it is known")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn futures_and_work_run_on_nice_threads() {
        let own = niceness();
        let aside = Aside::new(Arc::new(NiceThreads::start().expect("starts")));
        let there = aside.run(async {
            let before = niceness();
            // Timers, tasks and work that blocks are those of the runtime.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let elsewhere = tokio::spawn(async { niceness() }).await.expect("ends");
            let blocked = tokio::task::block_in_place(niceness);
            [before, elsewhere, blocked, niceness()]
        });
        let nice = (own + NICER).min(NICEST);
        assert_eq!(there.await, Ok([nice, own, nice, nice]));
        let panics = tokio::spawn(async move { aside.run(async { panic!("it is meant to") }).await });
        assert!(panics.await.expect_err("goes on").is_panic());
    }
}
