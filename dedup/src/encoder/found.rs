//! What a scan of a batch has found so far: matches, and what is new.

use std::collections::HashSet;
use std::ops::Range;

use super::courses::Courses;
use super::noise;
use super::streams::OpenPiece;
use crate::chunker::Fingerprint;
use crate::history::{Extent, Position};
use crate::similarity::SuperFeatures;

/// Bytes foretold that make up for each that is skipped on the way.
const SKIPPED_COST: i64 = 4;

/// `raw[begin..begin + extent.len]` stands in history at `extent.at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) begin: usize,
    pub(super) extent: Extent,
}

impl Match {
    /// Bytes gained by going on here from `at`: what is skipped counts several times.
    pub(super) fn worth(&self, at: usize) -> i64 {
        self.extent.len as i64 - SKIPPED_COST * (self.begin - at) as i64
    }

    pub(super) fn end(&self) -> usize {
        self.begin + self.extent.len
    }
}

/// A chunk, or the piece of one, that is new to history.
#[derive(Clone, Debug, Default)]
pub(super) struct Novel {
    pub(super) range: Range<usize>,
    /// Of the whole chunk; `None` while its end has not been seen.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Where the chunk's earlier part stands, which previous batches held.
    pub(super) earlier: Option<Extent>,
    /// Where it would stand in history by the course most trusted.
    pub(super) guess: Option<Position>,
    pub(super) features: Option<SuperFeatures>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) matches: Vec<Match>,
    pub(super) novel: Vec<Novel>,
    pub(super) courses: Courses,
    /// The chunk that the batch ends in; its extent is still that of the earlier part.
    pub(super) open: Option<OpenPiece>,
    /// The last match ends just here.
    pub(super) sure: bool,
}

impl Found {
    /// Whether all of the batch is new, and compressing it would be in vain.
    pub(super) fn is_noise(&self, raw: &[u8]) -> bool {
        self.matches.is_empty() && noise::is_noise(raw) && {
            let fingerprints = self.novel.iter().filter_map(|novel| novel.fingerprint);
            let mut seen = HashSet::new();
            fingerprints
                .into_iter()
                .all(|fingerprint| seen.insert(fingerprint))
        }
    }

    /// Takes a match that lies ahead, with what stands before it as novel.
    pub(super) fn meet(&mut self, at: usize, met: Match) {
        if met.begin > at {
            self.push_novel(Novel {
                range: at..met.begin,
                ..Novel::default()
            });
        }
        self.push(met.begin, met.extent);
    }

    /// `extent` of history stands in the batch from `begin` on.
    pub(super) fn push(&mut self, begin: usize, extent: Extent) {
        self.courses.met(begin, extent.at, extent.len);
        self.open = None;
        self.sure = true;
        match self.matches.last_mut() {
            Some(last) if last.end() == begin && last.extent.end() == extent.at => {
                last.extent.len += extent.len;
            }
            Some(_) | None => self.matches.push(Match { begin, extent }),
        }
    }

    /// A piece that history does not have.
    pub(super) fn push_novel(&mut self, mut novel: Novel) {
        novel.guess = novel.guess.or_else(|| self.courses.main(novel.range.start));
        self.courses.missed(novel.range.len());
        self.sure = false;
        self.novel.push(novel);
    }
}
