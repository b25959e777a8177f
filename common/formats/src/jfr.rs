//! JDK Flight Recorder files (`.jfr`), as the JDK and async-profiler write them: bytes to the stacks of the events that
//! profiles are made of, summed by stack, thread state and context.
//!
//! The format has no specification; it is described in "The JDK Flight Recorder File Format" (G. Morling, 2022) and by what
//! the JDK's `jfr` tool prints. A file is a sequence of chunks, each complete in itself: a header (magic `FLR\0`, version 2,
//! sizes and offsets, whether integers are compressed), then events, each with its size and its type. Event 0 holds metadata:
//! the classes of events and of constants, with the fields in the order in which they are written. Events 1 are checkpoints:
//! constants by class and key, which fields name by their key. All checkpoints of a chunk count.
//!
//! What a class or a field is, is known by its name in the metadata alone; unknown fields and constants are passed by as the
//! metadata say, unknown events by their size. Must not know: what becomes of the events, labels, rates.

mod chunk;
mod cursor;
mod events;
mod layout;
mod metadata;
mod pools;
mod resolve;
pub mod snapshot;

pub use layout::NESTING_MAX;

/// Largest recording that is read. Offsets and numbers of what is in it are 32 bits wide.
pub const RECORDING_BYTES_MAX: usize = 1 << 30;

/// The events that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// `jdk.ExecutionSample`.
    ExecutionSample,
    /// `profiler.WallClockSample`; the value is its number of samples.
    WallClockSample,
    /// `jdk.ObjectAllocationInNewTLAB`; the value is the size of the buffer, in bytes.
    AllocationInNewTlab,
    /// `jdk.ObjectAllocationOutsideTLAB`; the value is the size of the object, in bytes.
    AllocationOutsideTlab,
    /// `jdk.ObjectAllocationSample`; the value is its weight, in bytes.
    AllocationSample,
    /// `jdk.JavaMonitorEnter`; the value is its duration, in ticks.
    MonitorEnter,
    /// `jdk.ThreadPark`; the value is its duration, in ticks.
    ThreadPark,
    /// `profiler.LiveObject`; without a value.
    LiveObject,
    /// `profiler.Malloc`; the value is the size, in bytes.
    Malloc,
}

/// The state of a sampled thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The event says none that the recording knows.
    Unknown,
    /// `STATE_RUNNABLE`.
    Runnable,
    /// `STATE_SLEEPING`.
    Sleeping,
    /// Any other.
    Other,
}

/// Where an event belongs. 0 = nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Context {
    /// The context, of which a [`snapshot::LabelsSnapshot`] knows the labels.
    pub id: i64,
    /// The span.
    pub span: u64,
    /// The name of the span: a string of the snapshot.
    pub span_name: i64,
    /// The trace.
    pub trace: u128,
}

/// A function: its class and its method as texts, [`Recording::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// With slashes, e.g. `java/lang/Thread`; empty for native code without a library.
    pub class: u32,
    /// Without its parameters.
    pub method: u32,
}

/// A function at a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Index of the function.
    pub function: u32,
    /// The line; 0 when it is not known.
    pub line: i32,
}

/// Equal events, summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What they are.
    pub kind: EventKind,
    /// The state of their threads.
    pub state: State,
    /// Their stack, [`Recording::stack`].
    pub stack: u32,
    /// Index of their context.
    pub context: u32,
    /// How many there are.
    pub count: i64,
    /// The sum of their values; what that is depends on the kind.
    pub value: i64,
}

/// What a recording holds, all chunks together.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// The events, in the order in which the first of each came.
    pub rows: Vec<Row>,
    /// Contexts of rows.
    pub contexts: Vec<Context>,
    /// Functions of locations.
    pub functions: Vec<Function>,
    /// Locations of stacks.
    pub locations: Vec<Location>,
    /// Number of chunks.
    pub chunks: u32,
    /// The value of the active setting `event`, as a text.
    event: u32,
    frames: Vec<u32>,
    stack_ends: Vec<u32>,
    characters: String,
    text_ends: Vec<u32>,
}

/// A recording that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("chunk {chunk}, byte {at} of the recording: {fault}")]
pub struct JfrError {
    /// The chunk, from 1.
    pub chunk: u32,
    /// Where, from the begin of the recording.
    pub at: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Fault {
    #[error("it is cut off here")]
    CutOff,
    #[error("a chunk must begin with 'FLR' and a zero byte, here are the bytes {0}")]
    Magic(String),
    #[error(
        "version {major}.{minor} of the format is not supported, only 2.x (JDK 9 and later, async-profiler) is"
    )]
    Version { major: u16, minor: u16 },
    #[error(
        "the chunk says that it has {size} bytes, and there are {left}: it is cut off, or was not finished"
    )]
    ChunkSize { size: i64, left: usize },
    #[error("the metadata cannot be at byte {offset} of a chunk of {size} bytes")]
    MetadataOffset { offset: i64, size: usize },
    #[error("an event of type {ty} is where the metadata should be")]
    NoMetadata { ty: i64 },
    #[error("an event of type {ty} says that it has {size} bytes, and {left} are left")]
    EventSize { size: i64, ty: i64, left: usize },
    #[error("a count of {count}, and {left} bytes are left")]
    Count { count: i64, left: usize },
    #[error("a text has the encoding {0}, only 0 to 5 are known")]
    TextEncoding(u8),
    #[error("field '{field}' of class '{class}' has the class {id}, which the metadata do not describe")]
    FieldClass { class: String, field: String, id: i64 },
    #[error("classes are nested in one another more than {limit} deep")]
    Nesting { limit: u32 },
    #[error("there are constants of class {id}, which the metadata do not describe")]
    PoolClass { id: i64 },
    #[error("a recording of {bytes} bytes is larger than {limit}")]
    TooLarge { bytes: usize, limit: usize },
}

/// A fault and the offset in its chunk.
#[derive(Debug)]
struct Broken {
    at: usize,
    fault: Fault,
}

impl Recording {
    /// Reads a recording: linear in its bytes, and its memory is bounded by a multiple of them. An error refuses the whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, JfrError> {
        let mut out = Self { event: u32::MAX, ..Self::default() };
        if bytes.len() > RECORDING_BYTES_MAX {
            let fault = Fault::TooLarge { bytes: bytes.len(), limit: RECORDING_BYTES_MAX };
            return Err(JfrError { chunk: 1, at: 0, fault });
        }
        let mut known = events::Known::default();
        let mut start = 0;
        while start < bytes.len() {
            out.chunks += 1;
            let chunk = out.chunks;
            let read = chunk::Chunk::new(&bytes[start..])
                .and_then(|chunk| events::read(&chunk, &mut known, &mut out).map(|()| chunk.bytes.len()));
            start += read.map_err(|Broken { at, fault }| JfrError { chunk, at: start + at, fault })?;
        }
        Ok(out)
    }

    /// What the profiler samples by, e.g. `cpu`, `itimer`, `wall`: the value of the active setting `event`; empty when the
    /// recording has no such setting.
    pub fn event(&self) -> &str {
        self.text(self.event)
    }

    /// A text; empty when there is none.
    pub fn text(&self, text: u32) -> &str {
        let range = self.text_ends.get(text as usize).map(|end| {
            let start = text.checked_sub(1).map_or(0, |before| self.text_ends[before as usize]);
            start as usize..*end as usize
        });
        range.and_then(|range| self.characters.get(range)).unwrap_or_default()
    }

    /// Indices of the locations of a stack, leaf first.
    pub fn stack(&self, stack: u32) -> &[u32] {
        let Some(end) = self.stack_ends.get(stack as usize) else { return &[] };
        let start = stack.checked_sub(1).map_or(0, |before| self.stack_ends[before as usize]);
        &self.frames[start as usize..*end as usize]
    }

    fn push_text(&mut self, text: cursor::Text<'_>) -> Result<u32, Broken> {
        text.append(&mut self.characters)?;
        self.text_ends.push(self.characters.len() as u32);
        Ok(self.text_ends.len() as u32 - 1)
    }
}
