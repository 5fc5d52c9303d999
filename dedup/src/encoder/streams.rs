//! What runs on from batch to batch of one stream.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use lru::LruCache;

use super::courses::Courses;
use super::reach::Reach;
use crate::chunker::{FingerprintHasher, OpenChunk};
use crate::history::{Extent, Position};

/// Most streams remembered; the one unused for longest starts anew.
const STREAMS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// Most ranges remembered of a stream's tail.
const TAIL_EXTENTS_MAX: usize = 64;
/// Most bytes remembered of a stream's tail.
const TAIL_BYTES_MAX: usize = 1 << 20;

/// A stream as the encoder left it.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    pub(crate) next_seq: u64,
    pub(crate) courses: Courses,
    /// The chunk that the last batch ended in.
    pub(crate) open: Option<OpenPiece>,
    pub(crate) tail: Tail,
    pub(crate) reach: Reach,
}

/// The part of a chunk that earlier batches held.
#[derive(Clone, Debug)]
pub(crate) struct OpenPiece {
    pub(crate) chunk: OpenChunk,
    pub(crate) hasher: FingerprintHasher,
    /// Where that part stands in history.
    pub(crate) extent: Extent,
}

/// Where the newest bytes of a stream stand in history, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    extents: VecDeque<Extent>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, extent: Extent) {
        if extent.len == 0 {
            return;
        }
        self.bytes += extent.len;
        match self.extents.back_mut() {
            Some(last) if last.end() == extent.at => last.len += extent.len,
            Some(_) | None => self.extents.push_back(extent),
        }
        while self.bytes > TAIL_BYTES_MAX || self.extents.len() > TAIL_EXTENTS_MAX {
            let over = self.bytes.saturating_sub(TAIL_BYTES_MAX);
            let Some(first) = self.extents.front_mut() else {
                break;
            };
            if over > 0 && over < first.len {
                *first = Extent {
                    at: first.at.after(over),
                    len: first.len - over,
                };
                self.bytes -= over;
            } else {
                self.bytes -= first.len;
                self.extents.pop_front();
            }
        }
    }

    /// The newest ranges of `bytes` in all, oldest first.
    pub(crate) fn newest(&self, bytes: usize) -> Vec<Extent> {
        let mut left = bytes;
        let mut newest = Vec::new();
        for extent in self.extents.iter().rev() {
            if left == 0 {
                break;
            }
            let len = extent.len.min(left);
            newest.push(Extent {
                at: extent.end().before(len),
                len,
            });
            left -= len;
        }
        newest.reverse();
        newest
    }

    /// Forgets what is no longer in `oldest..tail`.
    fn retain(&mut self, oldest: Position, tail: Position) {
        self.extents
            .retain(|extent| extent.at >= oldest && extent.end() <= tail);
        self.bytes = self.extents.iter().map(|extent| extent.len).sum();
    }
}

/// The streams of a link.
#[derive(Debug)]
pub(crate) struct Streams(LruCache<u64, StreamState>);

impl Default for Streams {
    fn default() -> Self {
        Self(LruCache::new(STREAMS_MAX))
    }
}

impl Streams {
    /// Takes the stream as it stands before batch `seq`; it must be put back.
    pub(crate) fn take(&mut self, stream: u64, seq: u64) -> StreamState {
        let mut state = self.0.pop(&stream).unwrap_or_default();
        if state.next_seq != seq {
            state.open = None;
        }
        state.next_seq = seq + 1;
        state
    }

    pub(crate) fn put(&mut self, stream: u64, state: StreamState) {
        self.0.put(stream, state);
    }

    /// After a rollback: chunks begin anew, and nothing past the tail is remembered.
    pub(crate) fn roll_back(&mut self, oldest: Position, tail: Position) {
        for (_, state) in &mut self.0 {
            state.open = None;
            state.courses = Courses::default();
            state.tail.retain(oldest, tail);
        }
    }
}
