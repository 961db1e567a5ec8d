//! [`Chunk`]: a fixed number of frames in arrival order.

use bpf::run::Arrival;

/// Frames of one chunk at most.
pub const CHUNK_FRAMES: usize = 4096;

/// Bytes of one chunk after which it is closed early; the last frame may go beyond.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Frames in arrival order, in one block of memory. Reused: [`Chunk::clear`] keeps allocations.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    frames: Vec<(Arrival, std::ops::Range<usize>)>,
}

impl Chunk {
    /// An empty chunk.
    pub fn new() -> Chunk {
        Chunk::default()
    }

    /// Forgets the frames.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }

    /// Adds a frame.
    pub fn push(&mut self, arrival: Arrival, frame: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.frames.push((arrival, start..self.bytes.len()));
    }

    /// Whether it should be processed before more is added.
    pub fn is_full(&self) -> bool {
        self.frames.len() >= CHUNK_FRAMES || self.bytes.len() >= CHUNK_BYTES
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frame `index` as it came in.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame(&self, index: usize) -> (Arrival, &[u8]) {
        let (arrival, range) = &self.frames[index];
        (*arrival, &self.bytes[range.clone()])
    }

    /// The frame of this packet number.
    pub fn by_number(&self, number: u64) -> Option<(Arrival, &[u8])> {
        let frames = &self.frames;
        let index = frames.binary_search_by_key(&number, |(arrival, _)| arrival.number);
        Some(self.frame(index.ok()?))
    }

    /// All frames in arrival order.
    pub fn iter(&self) -> impl Iterator<Item = (Arrival, &[u8])> {
        self.frames
            .iter()
            .map(|(arrival, range)| (*arrival, &self.bytes[range.clone()]))
    }
}
