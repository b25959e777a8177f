//! Work that several ask for at once and that is done once. It goes on when nobody waits any more.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Pieces of work that may go on at once.
const FLIGHTS_MAX: usize = 64;

/// What goes on, by what it is for.
#[derive(Debug)]
pub(crate) struct Flights<K, T>(Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Takes work off the list when it ends, however it does.
struct Landing<K: Hash + Eq, T> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>,
    key: K,
}

impl<K: Hash + Eq, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl<K, T> Flights<K, T>
where
    K: Hash + Eq + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Waits for the work on a key, which is begun if nobody has. `None`: too much goes on, or the work panicked.
    pub(crate) async fn join<F>(&self, key: &K, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut done = {
            let mut flights = self.0.lock();
            match flights.get(key) {
                Some(going_on) => going_on.clone(),
                None if flights.len() >= FLIGHTS_MAX => return None,
                None => {
                    let (tell, told) = watch::channel(None);
                    flights.insert(key.clone(), told.clone());
                    let landing = Landing { flights: Arc::clone(&self.0), key: key.clone() };
                    let work = work();
                    tokio::spawn(async move {
                        let done = work.await;
                        // Before it is told: who comes now finds what the work has left, not the work.
                        drop(landing);
                        tell.send_replace(Some(done));
                    });
                    told
                }
            }
        };
        let told = done.wait_for(Option::is_some).await.ok()?;
        (*told).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn equal_work_is_done_once_and_goes_on_alone() {
        let flights: Flights<u32, u32> = Flights::default();
        let begun = Arc::new(AtomicU32::new(0));
        let work = || {
            let begun = Arc::clone(&begun);
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                begun.fetch_add(1, Ordering::SeqCst)
            }
        };
        let patience = Duration::from_secs(1);
        assert!(tokio::time::timeout(patience, flights.join(&7, work)).await.is_err());
        let both = tokio::join!(flights.join(&7, work), flights.join(&7, work));
        assert_eq!((both, begun.load(Ordering::SeqCst)), ((Some(0), Some(0)), 1));
        assert_eq!(flights.join(&7, work).await, Some(1), "it begins anew once it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_end_and_there_is_a_bound() {
        let flights: Flights<usize, u32> = Flights::default();
        assert_eq!(flights.join(&0, || async { panic!("as tests do") }).await, None);
        assert_eq!(flights.join(&0, || async { 3 }).await, Some(3));
        for at in 0..FLIGHTS_MAX {
            let never = tokio::time::timeout(Duration::from_secs(1), flights.join(&at, std::future::pending));
            assert!(never.await.is_err());
        }
        assert_eq!(flights.join(&FLIGHTS_MAX, || async { 3 }).await, None);
    }
}
