//! What of a batch is appended to history, and how it is found again there.

use std::ops::Range;

use super::found::{Found, Match, Novel};
use super::streams::{OpenPiece, StreamState};
use super::tables::{Cutting, Tables};
use crate::chunker::{CHUNK_BYTES_MIN, OpenChunk};
use crate::history::{ChunkNote, Extent, Ledger, Position};
use crate::wire::plan;

/// Ranges to append: everything novel, joined where it is dense.
fn ranges(found: &Found) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for Novel { range, .. } in &found.novel {
        plan::join(&mut ranges, range.clone());
    }
    ranges
}

/// Appends to a ledger and enters what was appended in the tables.
pub(super) struct Append<'a> {
    pub(super) raw: &'a [u8],
    pub(super) cutting: &'a Cutting,
    pub(super) ledger: &'a mut Ledger,
    pub(super) tables: &'a mut Tables,
}

impl Append<'_> {
    /// Appends what is new of a batch and returns its ranges; the stream goes on behind it.
    pub(super) fn batch(&mut self, found: &Found, stream: &mut StreamState) -> Vec<Range<usize>> {
        let start = self.ledger.tail();
        let ranges = ranges(found);
        stream.open = self.run(found, &ranges);
        stream.tail.push(Extent {
            at: start,
            len: self.ledger.tail().since(start),
        });
        ranges
    }

    /// Returns the chunk that the batch ends in, if it can go on in the next.
    fn run(&mut self, found: &Found, ranges: &[Range<usize>]) -> Option<OpenPiece> {
        let mut novel = found.novel.iter().peekable();
        let mut open = None;
        for range in ranges {
            let at = self.ledger.append(&self.raw[range.clone()]);
            self.tie(found, range, at);
            let mut unindexed = range.start;
            while let Some(piece) = novel.next_if(|piece| piece.range.end <= range.end) {
                let last = novel.peek().is_none();
                let here = at.after(piece.range.start - range.start);
                let whole = whole(piece, here);
                match piece.fingerprint {
                    Some(fingerprint) => {
                        self.cut(unindexed..piece.range.start, range, at);
                        unindexed = piece.range.end;
                        if let Some(extent) = whole {
                            self.enter(ChunkNote {
                                extent,
                                fingerprint,
                                features: piece.features,
                            });
                        }
                    }
                    None if last => {
                        let go_on =
                            |extent| found.open.clone().map(|open| OpenPiece { extent, ..open });
                        open = whole.and_then(go_on);
                    }
                    None => {}
                }
            }
            self.cut(unindexed..range.end, range, at);
        }
        open
    }

    /// Enters the chunks of what stands in history at `at` already.
    pub(super) fn enter_again(&mut self, at: Position) {
        let all = 0..self.raw.len();
        self.cut(all.clone(), &all, at);
    }

    /// Cuts a stretch that no scan has cut, and enters its whole chunks.
    fn cut(&mut self, stretch: Range<usize>, range: &Range<usize>, at: Position) {
        if stretch.len() < CHUNK_BYTES_MIN {
            return;
        }
        let mut from = stretch.start;
        let mut open = OpenChunk::default();
        while let Some(len) = self
            .cutting
            .chunker
            .next_cut(&mut open, &self.raw[from..stretch.end])
        {
            let (chunk, here) = (&self.raw[from..from + len], at.after(from - range.start));
            let extent = Extent { at: here, len };
            let fingerprint = self.cutting.chunker.fingerprint(chunk);
            let features = self.cutting.features(chunk);
            self.enter(ChunkNote {
                extent,
                fingerprint,
                features,
            });
            from += len;
        }
    }

    fn enter(&mut self, chunk: ChunkNote) {
        self.tables.enter(chunk);
        self.ledger.note(chunk);
    }

    /// Remembers whence the stream came to what is appended, and where it goes on after.
    fn tie(&mut self, found: &Found, range: &Range<usize>, at: Position) {
        let next = found
            .matches
            .partition_point(|found| found.end() <= range.start);
        let before = next.checked_sub(1).map(|n| &found.matches[n]);
        if let Some(before) = before.filter(|before| before.end() == range.start) {
            self.tables.threads.tie(before.extent.end(), at);
        }
        let after = found.matches[next..].partition_point(|found| found.end() <= range.end);
        let covers = |found: &&Match| found.begin <= range.end;
        if let Some(after) = found.matches.get(next + after).filter(covers) {
            let back = after.extent.at.after(range.end - after.begin);
            self.tables.threads.tie(at.after(range.len()), back);
        }
    }
}

/// A chunk that spans batches can be found again only where its parts lie together.
fn whole(piece: &Novel, at: Position) -> Option<Extent> {
    match piece.earlier.filter(|earlier| earlier.len > 0) {
        None => Some(Extent {
            at,
            len: piece.range.len(),
        }),
        Some(earlier) if earlier.end() == at => Some(Extent {
            at: earlier.at,
            len: earlier.len + piece.range.len(),
        }),
        Some(_) => None,
    }
}
