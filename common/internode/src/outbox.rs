//! The sending side of one stream: a queue bounded by bytes and by count. Knows nothing of sockets.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::frame::Frame;

/// Most frames in one queue.
pub const QUEUE_FRAMES_MAX: usize = 4096;
/// Most bytes in one queue; one frame alone may be larger.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Sends frames on one stream, in order. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: mpsc::Sender<Queued>,
    space: Arc<Semaphore>,
    bytes_max: u32,
}

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

/// A frame and its room in the queue, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Queued {
    frame: Frame,
    _room: OwnedSemaphorePermit,
}

impl Queued {
    /// The frame; its room is free.
    pub(crate) fn into_frame(self) -> Frame {
        self.frame
    }
}

impl Outbox {
    /// A queue and the end that feeds the stream.
    pub(crate) fn new(bytes_max: usize) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, feed) = mpsc::channel(QUEUE_FRAMES_MAX);
        let bytes_max = u32::try_from(bytes_max.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        (Self { queue, space: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max }, feed)
    }

    /// Queues a frame, or refuses at once.
    pub fn try_send(&self, frame: Frame) -> Result<(), SendError> {
        if self.queue.is_closed() {
            return Err(SendError::Closed);
        }
        let room = Arc::clone(&self.space)
            .try_acquire_many_owned(self.weight(&frame))
            .map_err(|_| SendError::Full)?;
        self.queue.try_send(Queued { frame, _room: room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Queues a frame; waits while the queue is full.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        let room = Arc::clone(&self.space).acquire_many_owned(self.weight(&frame));
        let room = tokio::select! {
            room = room => room.map_err(|_| SendError::Closed)?,
            () = self.queue.closed() => return Err(SendError::Closed),
        };
        self.queue.send(Queued { frame, _room: room }).await.map_err(|_| SendError::Closed)
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Whether both send on the same stream.
    pub fn is_same(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// Bytes queued now.
    pub fn queued_bytes(&self) -> usize {
        (self.bytes_max as usize).saturating_sub(self.space.available_permits())
    }

    /// A frame larger than the whole queue takes all of it: it goes alone.
    fn weight(&self, frame: &Frame) -> u32 {
        u32::try_from(frame.weight_bytes()).unwrap_or(u32::MAX).min(self.bytes_max)
    }
}
