//! [`FrameArea`]: the memory around a frame while a program runs.

use std::ops::{Deref, DerefMut};

use crate::run::{Batch, Frame};

/// The area of a frame while a program runs: that in its batch, or a larger one of its own once
/// a helper has made the packet grow beyond it.
#[derive(Debug)]
pub enum FrameArea<'a> {
    /// Part of a batch's memory.
    Lent(&'a mut [u8]),
    /// Memory of its own, which goes back to the batch with [`Batch::take_back`].
    Own(Vec<u8>),
}

impl Deref for FrameArea<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            FrameArea::Lent(bytes) => bytes,
            FrameArea::Own(bytes) => bytes,
        }
    }
}

impl DerefMut for FrameArea<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            FrameArea::Lent(bytes) => bytes,
            FrameArea::Own(bytes) => bytes,
        }
    }
}

impl FrameArea<'_> {
    /// Makes the area so large that `head` bytes lie before the frame and `tail` after it, and
    /// moves the borders with it.
    pub fn make_room(&mut self, borders: [&mut u32; 3], head: u32, tail: u32) {
        let [meta, data, end] = borders;
        let len = self.len() as u32;
        if *meta >= head && len.saturating_sub(*end) >= tail {
            return;
        }
        let bytes = grown(self, (*meta, *end), head, tail);
        let by = bytes.1;
        *self = FrameArea::Own(bytes.0);
        for border in [meta, data, end] {
            *border = border.wrapping_add(by);
        }
    }

    /// The memory if it is the frame's own.
    pub fn into_own(self) -> Option<Vec<u8>> {
        match self {
            FrameArea::Lent(_) => None,
            FrameArea::Own(bytes) => Some(bytes),
        }
    }
}

/// A copy of the bytes from `start` to `end` of an area, with room for `head` bytes before and
/// `tail` after them; and by how much offsets in the area grow (it wraps).
pub fn grown(area: &[u8], (start, end): (u32, u32), head: u32, tail: u32) -> (Vec<u8>, u32) {
    let from = area.get(start as usize..end as usize).unwrap_or_default();
    let mut bytes = vec![0; head as usize + from.len() + tail as usize];
    bytes[head as usize..head as usize + from.len()].copy_from_slice(from);
    (bytes, head.wrapping_sub(start))
}

impl Batch {
    /// Makes memory that a frame got of its own a part of the batch's.
    pub fn take_back(&mut self, index: usize, own: &[u8]) {
        let start = self.memory.len().next_multiple_of(8);
        self.memory.resize(start, 0);
        self.memory.extend_from_slice(own);
        if let Some(Frame { area, .. }) = self.frames.get_mut(index) {
            *area = start..start + own.len();
        }
    }
}
