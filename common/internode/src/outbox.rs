//! The sending side of one stream: a queue bounded by bytes and by count, and a short one past it. Knows nothing of sockets.
//!
//! What is short (votes, signs of life, answers) need not wait behind megabytes of other cells' entries, and has room when
//! they fill the queue: else one loud cell would have all the others elect new leaders. Frames of one cell never overtake
//! each other: a short one goes into the long queue while that holds one of its cell. Those entries are signs of life
//! themselves. So members of a cell may rely on the order, as they do on a link without lanes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_common::CellId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::frame::Frame;

/// Most frames in the long queue.
pub const QUEUE_FRAMES_MAX: usize = 4096;
/// Most bytes in the long queue; one frame alone may be larger.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Most short frames that pass by the long queue.
pub const SHORT_FRAMES_MAX: usize = 1024;

/// Sends frames on one stream, those of a cell in order. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    long: mpsc::Sender<Queued>,
    short: mpsc::Sender<Queued>,
    /// How many frames of each cell are in the long queue, or wait for room there.
    waiting: Waiting,
    space: Arc<Semaphore>,
    bytes_max: u32,
}

type Waiting = Arc<Mutex<BTreeMap<CellId, usize>>>;

/// A frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer reads too slowly: the queue is full.
    #[error("the queue to the peer is full")]
    Full,
    /// There is no stream.
    #[error("there is no stream to the peer")]
    Closed,
}

/// A frame, its place in the order of its cell and its room in the queue, which are free again when this is dropped.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    _place: Option<Place>,
    _room: Option<OwnedSemaphorePermit>,
}

/// While there is one, all frames of the cell go into the long queue.
#[derive(Debug)]
struct Place {
    waiting: Waiting,
    cell: CellId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.cell) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.cell);
            }
        }
    }
}

/// The end that feeds the stream.
#[derive(Debug)]
pub(crate) struct Feed {
    long: mpsc::Receiver<Queued>,
    short: mpsc::Receiver<Queued>,
    /// Taken out of the long queue, and still before what is there.
    next: Option<Queued>,
    /// So many short frames were there before `next` was taken out, and go first: some may be of its cell.
    before: usize,
}

impl Feed {
    /// The next frame; its room is free. `None` = no sender is left.
    pub(crate) async fn recv(&mut self) -> Option<Frame> {
        loop {
            if self.next.is_none()
                && let Ok(next) = self.long.try_recv()
            {
                self.taken(next);
            }
            if self.before > 0 {
                self.before -= 1;
                if let Ok(short) = self.short.try_recv() {
                    return Some(short.frame);
                }
            } else if let Some(next) = self.next.take() {
                return Some(next.frame);
            } else {
                tokio::select! {
                    Some(short) = self.short.recv() => return Some(short.frame),
                    Some(next) = self.long.recv() => self.taken(next),
                    else => return None,
                }
            }
        }
    }

    /// Only so many short frames go before it: they cannot hold up the long queue for ever.
    fn taken(&mut self, next: Queued) {
        self.next = Some(next);
        self.before = self.short.len();
    }
}

impl Outbox {
    /// A queue and the end that feeds the stream.
    pub(crate) fn new(bytes_max: usize) -> (Self, Feed) {
        let (long, long_feed) = mpsc::channel(QUEUE_FRAMES_MAX);
        let (short, short_feed) = mpsc::channel(SHORT_FRAMES_MAX);
        let bytes_max = u32::try_from(bytes_max.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let space = Arc::new(Semaphore::new(bytes_max as usize));
        let outbox = Self { long, short, waiting: Waiting::default(), space, bytes_max };
        (outbox, Feed { long: long_feed, short: short_feed, next: None, before: 0 })
    }

    /// Queues a frame, or refuses at once.
    pub fn try_send(&self, frame: Frame) -> Result<(), SendError> {
        if self.long.is_closed() {
            return Err(SendError::Closed);
        }
        let Some(place) = self.place(&frame) else {
            return try_queue(&self.short, Queued { frame, _place: None, _room: None });
        };
        let room = Arc::clone(&self.space)
            .try_acquire_many_owned(self.weight(&frame))
            .map_err(|_| SendError::Full)?;
        try_queue(&self.long, Queued { frame, _place: Some(place), _room: Some(room) })
    }

    /// Queues a frame; waits while the queue is full.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        let Some(place) = self.place(&frame) else {
            let queued = Queued { frame, _place: None, _room: None };
            return self.short.send(queued).await.map_err(|_| SendError::Closed);
        };
        let room = Arc::clone(&self.space).acquire_many_owned(self.weight(&frame));
        let room = tokio::select! {
            room = room => room.map_err(|_| SendError::Closed)?,
            () = self.long.closed() => return Err(SendError::Closed),
        };
        let queued = Queued { frame, _place: Some(place), _room: Some(room) };
        self.long.send(queued).await.map_err(|_| SendError::Closed)
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.long.is_closed()
    }

    /// Whether both send on the same stream.
    pub fn is_same(&self, other: &Self) -> bool {
        self.long.same_channel(&other.long)
    }

    /// Bytes in the long queue now.
    pub fn queued_bytes(&self) -> usize {
        (self.bytes_max as usize).saturating_sub(self.space.available_permits())
    }

    /// A place in the long queue; `None` = the frame may pass by it.
    fn place(&self, frame: &Frame) -> Option<Place> {
        let mut waiting = self.waiting.lock();
        if frame.is_short() && !waiting.contains_key(&frame.cell) {
            return None;
        }
        *waiting.entry(frame.cell.clone()).or_default() += 1;
        Some(Place { waiting: Arc::clone(&self.waiting), cell: frame.cell.clone() })
    }

    /// A frame larger than the whole queue takes all of it: it goes alone.
    fn weight(&self, frame: &Frame) -> u32 {
        u32::try_from(frame.weight_bytes()).unwrap_or(u32::MAX).min(self.bytes_max)
    }
}

fn try_queue(queue: &mpsc::Sender<Queued>, queued: Queued) -> Result<(), SendError> {
    queue.try_send(queued).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => SendError::Full,
        mpsc::error::TrySendError::Closed(_) => SendError::Closed,
    })
}

#[cfg(test)]
mod tests;
