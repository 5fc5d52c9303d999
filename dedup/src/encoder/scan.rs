//! Finds what of a batch the peer holds already.
//!
//! While a run of references goes on, the batch is compared with the history that should come
//! next, straight in memory. Where they part, the way back is sought first along the threads that
//! earlier versions left, then within a few KiB, to the byte. Only then are content chunks cut and
//! looked up; a match grows in both directions.

use std::collections::HashSet;
use std::ops::Range;

use super::align::Aligner;
use super::bases::{Bases, Choice};
use super::courses::Courses;
use super::in_flight::InFlight;
use super::noise;
use super::reverse::Reverse;
use super::streams::{OpenPiece, Tail};
use super::tables::{Cutting, Tables};
use crate::chunker::{Fingerprint, OpenChunk};
use crate::history::{Extent, Held, Position, View};
use crate::similarity::SuperFeatures;

/// A shorter match is not worth its reference.
const RUN_BYTES_MIN: usize = 32;
/// A shorter detour of an earlier version is not worth following.
const DETOUR_BYTES_MIN: usize = 12;
/// Bytes foretold that make up for each that is skipped on the way.
const SKIPPED_COST: i64 = 4;
/// Window in which two chunks that are much alike are aligned, in bytes.
const ALIKE_WINDOW_BYTES: usize = 8 << 10;
/// Windows in which the way back is sought after an edit, in bytes.
const WINDOWS: [usize; 2] = [768, 8 << 10];

/// `raw[begin..begin + extent.len]` stands in history at `extent.at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) begin: usize,
    pub(crate) extent: Extent,
}

impl Match {
    /// Bytes gained by going on here from `at`: what is skipped counts several times.
    fn worth(&self, at: usize) -> i64 {
        self.extent.len as i64 - SKIPPED_COST * (self.begin - at) as i64
    }

    pub(crate) fn end(&self) -> usize {
        self.begin + self.extent.len
    }
}

/// A chunk, or the piece of one, that is new to history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Novel {
    pub(crate) range: Range<usize>,
    /// Of the whole chunk; `None` while its end has not been seen.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Where the chunk's earlier part stands, which previous batches held.
    pub(crate) earlier: Option<Extent>,
    /// Where it would stand in history by the course most trusted.
    pub(crate) guess: Option<Position>,
    pub(crate) features: Option<SuperFeatures>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) matches: Vec<Match>,
    pub(crate) novel: Vec<Novel>,
    pub(crate) courses: Courses,
    /// The chunk that the batch ends in; its extent is still that of the earlier part.
    pub(crate) open: Option<OpenPiece>,
    /// The last match ends just here.
    sure: bool,
}

impl Found {
    /// Whether all of the batch is new, and compressing it would be in vain.
    pub(crate) fn is_noise(&self, raw: &[u8]) -> bool {
        self.matches.is_empty() && noise::is_noise(raw) && {
            let fingerprints = self.novel.iter().filter_map(|novel| novel.fingerprint);
            let mut seen = HashSet::new();
            fingerprints
                .into_iter()
                .all(|fingerprint| seen.insert(fingerprint))
        }
    }
}

/// What became of a chunk that is like one in history.
enum Alike {
    /// The two meet, and the batch is matched up to here.
    Aligned(usize),
    /// They have no stretch in common, but one may serve to compress the other.
    Guess(Position),
}

impl Alike {
    fn position(self) -> Option<Position> {
        match self {
            Self::Aligned(_) => None,
            Self::Guess(position) => Some(position),
        }
    }
}

/// What a scan looks at.
pub(crate) struct Scan<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) lane: u8,
    pub(crate) cutting: &'a Cutting,
    pub(crate) view: View<'a>,
    pub(crate) reverse: &'a Reverse,
    pub(crate) tables: &'a Tables,
    pub(crate) in_flight: &'a InFlight,
    /// Look for nothing: everything is novel.
    pub(crate) literal: bool,
}

impl Scan<'_> {
    pub(crate) fn run(
        &self,
        aligner: &mut Aligner,
        courses: Courses,
        open: Option<OpenPiece>,
    ) -> Found {
        let mut found = Found {
            courses,
            open,
            ..Found::default()
        };
        let mut at = 0;
        while at < self.raw.len() {
            let met = self
                .go_on(&mut found, at)
                .or_else(|| self.find_back(&mut found, aligner, at));
            at = match met {
                Some(end) => end,
                None => self.next_chunk(&mut found, aligner, at),
            };
        }
        found.courses.advance(self.raw.len());
        found
    }

    /// What the literals between the matches are to be compressed against, with at most `reach` bytes
    /// of the stream's tail.
    pub(crate) fn choose_bases(&self, found: &Found, tail: &Tail, reach: usize) -> Bases {
        let literal_len = self.raw.len()
            - found
                .matches
                .iter()
                .map(|found| found.extent.len)
                .sum::<usize>();
        let horizon = |at| self.horizon(at);
        Choice {
            matches: &found.matches,
            raw_len: self.raw.len(),
            novel: &found.novel,
            tail,
            reach,
            view: self.view,
            horizon: &horizon,
        }
        .run(literal_len)
    }

    /// Goes on with a run of references, if history goes on as the batch does.
    fn go_on(&self, found: &mut Found, at: usize) -> Option<usize> {
        if self.literal {
            return None;
        }
        let expected = found.courses.latest()?;
        let detour = self
            .detour(expected, at)
            .map(|here| (here, DETOUR_BYTES_MIN));
        let courses = found.courses.all(at).map(|here| (here, RUN_BYTES_MIN));
        let candidates = detour.into_iter().chain(courses);
        let met = candidates.filter_map(|(here, min)| {
            let len = self.equal_after(here, at);
            (len >= min).then_some(Extent { at: here, len })
        });
        // Of equals the first.
        let met = met.reduce(|best, next| if next.len > best.len { next } else { best })?;
        self.push(found, at, met);
        Some(at + met.len)
    }

    /// Where an earlier version went on from `expected`, if the batch goes on so too.
    fn detour(&self, expected: Position, at: usize) -> Option<Position> {
        let here = self.tables.threads.follow(expected)?;
        let len = self.equal_after(here, at);
        let returns = || {
            let back = self.tables.threads.follow(here.after(len))?;
            let rest = self.equal_after(back, at + len);
            (len >= DETOUR_BYTES_MIN && rest >= RUN_BYTES_MIN).then_some(())
        };
        (len >= RUN_BYTES_MIN || returns().is_some()).then_some(here)
    }

    /// Looks for the place, close to where a trusted course leads, where batch and history meet
    /// again.
    fn find_back(&self, found: &mut Found, aligner: &mut Aligner, at: usize) -> Option<usize> {
        if self.literal {
            return None;
        }
        let latest = found.courses.latest();
        let met = WINDOWS.into_iter().find_map(|window| {
            let found = found.courses.trusted(at).filter_map(|expected| {
                // Right after a match the place is known; after a miss it is a guess.
                let sure = found.sure && Some(expected) == latest;
                self.near(aligner, expected, at, window, sure)
            });
            found.reduce(|best, next| {
                if next.worth(at) > best.worth(at) {
                    next
                } else {
                    best
                }
            })
        })?;
        self.meet(found, at, met);
        Some(met.end())
    }

    fn near(
        &self,
        aligner: &mut Aligner,
        expected: Position,
        at: usize,
        window: usize,
        sure: bool,
    ) -> Option<Match> {
        let back = if sure { 0 } else { window / 2 };
        let from = expected.before(back).max(self.view.oldest(expected));
        let new = &self.raw[at..self.raw.len().min(at + window)];
        let common = aligner.align(new, &self.held_after(from, window))?;
        let (here, begin) = (from.after(common.old_at), at + common.new_at);
        let len = self.equal_after(here, begin);
        Some(Match {
            begin,
            extent: Extent { at: here, len },
        })
    }

    /// How far from `here` on may be referred to.
    fn horizon(&self, here: Position) -> Position {
        self.in_flight
            .horizon(self.lane, here, self.view.tail(here))
    }

    /// The bytes of history from `here` on that may be referred to, at most `max`.
    fn held_after(&self, here: Position, max: usize) -> Held<'_> {
        let max = max.min(self.horizon(here).since(here));
        let held = self.view.following(here).first(max);
        if held.len() == max || held.is_empty() {
            return held;
        }
        // The window goes on in the next block.
        let next = self.view.following(here.after(held.len()));
        let next = next.first(max - held.len());
        Held::Cold([&*held, &*next].concat().into())
    }

    fn next_chunk(&self, found: &mut Found, aligner: &mut Aligner, at: usize) -> usize {
        let rest = &self.raw[at..];
        let piece = found.open.take();
        let mut open = piece
            .as_ref()
            .map_or_else(OpenChunk::default, |piece| piece.chunk);
        let earlier = piece.as_ref().map(|piece| piece.extent);
        let Some(len) = self.cutting.chunker.next_cut(&mut open, rest) else {
            let mut hasher =
                piece.map_or_else(|| self.cutting.chunker.hasher(), |piece| piece.hasher);
            hasher.update(rest);
            let extent = earlier.unwrap_or(Extent {
                at: Position(0),
                len: 0,
            });
            found.open = Some(OpenPiece {
                chunk: open,
                hasher,
                extent,
            });
            self.push_novel(
                found,
                Novel {
                    range: at..self.raw.len(),
                    earlier,
                    ..Novel::default()
                },
            );
            return self.raw.len();
        };
        let chunk = &rest[..len];
        let fingerprint = match piece {
            Some(mut piece) => {
                piece.hasher.update(chunk);
                piece.hasher.finish()
            }
            None => self.cutting.chunker.fingerprint(chunk),
        };
        let earlier_len = earlier.map_or(0, |extent| extent.len);
        if let Some(end) = self.look_up(found, fingerprint, at, len, earlier_len) {
            return end;
        }
        let features = self.cutting.features(chunk);
        let alike = features
            .filter(|_| !self.literal)
            .and_then(|features| self.meet_alike(found, aligner, features, at));
        match alike {
            Some(Alike::Aligned(end)) => end,
            guess => {
                let guess = guess.and_then(Alike::position);
                let range = at..at + len;
                let fingerprint = Some(fingerprint);
                self.push_novel(
                    found,
                    Novel {
                        range,
                        fingerprint,
                        earlier,
                        guess,
                        features,
                    },
                );
                at + len
            }
        }
    }

    /// Looks for a chunk much like the one at `at`, and goes on from there if the two meet.
    fn meet_alike(
        &self,
        found: &mut Found,
        aligner: &mut Aligner,
        features: SuperFeatures,
        at: usize,
    ) -> Option<Alike> {
        let candidates = self
            .tables
            .similar
            .find(features)
            .filter_map(|here| self.near(aligner, here, at, ALIKE_WINDOW_BYTES, true));
        let met = candidates.reduce(|best, next| {
            if next.extent.len > best.extent.len {
                next
            } else {
                best
            }
        });
        let Some(met) = met else {
            return self.tables.similar.find(features).next().map(Alike::Guess);
        };
        self.meet(found, at, met);
        Some(Alike::Aligned(met.end()))
    }

    /// Takes a match that lies ahead, with what stands before it as novel.
    fn meet(&self, found: &mut Found, at: usize, met: Match) {
        if met.begin > at {
            self.push_novel(
                found,
                Novel {
                    range: at..met.begin,
                    ..Novel::default()
                },
            );
        }
        self.push(found, met.begin, met.extent);
    }

    fn look_up(
        &self,
        found: &mut Found,
        fingerprint: Fingerprint,
        at: usize,
        len: usize,
        earlier_len: usize,
    ) -> Option<usize> {
        let sent = self.tables.index.get(fingerprint);
        let hint = sent
            .or_else(|| self.reverse.get(fingerprint))
            .filter(|_| !self.literal)?;
        if hint.len != earlier_len + len {
            return None;
        }
        let here = hint.at.after(earlier_len);
        let forward = self.equal_after(here, at);
        if forward < len {
            return None;
        }
        let literal_begin = found.matches.last().map_or(0, Match::end);
        let back = self.equal_before(here, at, at - literal_begin);
        self.push(
            found,
            at - back,
            Extent {
                at: here.before(back),
                len: forward + back,
            },
        );
        Some(at + forward)
    }

    fn push(&self, found: &mut Found, begin: usize, extent: Extent) {
        found.courses.met(begin, extent.at, extent.len);
        found.open = None;
        found.sure = true;
        match found.matches.last_mut() {
            Some(last) if last.end() == begin && last.extent.end() == extent.at => {
                last.extent.len += extent.len;
            }
            Some(_) | None => found.matches.push(Match { begin, extent }),
        }
    }

    fn push_novel(&self, found: &mut Found, mut novel: Novel) {
        novel.guess = novel
            .guess
            .or_else(|| found.courses.main(novel.range.start));
        found.courses.missed(novel.range.len());
        found.sure = false;
        found.novel.push(novel);
    }

    /// Bytes from `at` in the batch that equal history from `here` on, as far as we may refer.
    fn equal_after(&self, here: Position, at: usize) -> usize {
        let horizon = self.horizon(here);
        let rest = &self.raw[at..];
        let rest = &rest[..rest.len().min(horizon.since(here))];
        let mut equal = 0;
        while equal < rest.len() {
            let held = self.view.following(here.after(equal));
            let compared = held.len().min(rest.len() - equal);
            let now = common_prefix(&held, &rest[equal..]);
            equal += now;
            if now < compared || compared == 0 {
                break;
            }
        }
        equal
    }

    /// Bytes before `at` in the batch, at most `max`, that equal history before `here`.
    fn equal_before(&self, here: Position, at: usize, max: usize) -> usize {
        let held = self.view.preceding(here);
        let held = &held[held.len() - held.len().min(max)..];
        let equal = common_suffix(held, &self.raw[..at]);
        // What is in flight in a less urgent lane may end just before.
        let begin = here.before(equal);
        if self.horizon(begin) >= here {
            equal
        } else {
            0
        }
    }
}

/// Length of the longest common prefix.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let (blocks_a, blocks_b) = (a.as_chunks::<BLOCK>().0, b.as_chunks::<BLOCK>().0);
    let blocks = blocks_a
        .iter()
        .zip(blocks_b)
        .take_while(|(a, b)| a == b)
        .count()
        * BLOCK;
    blocks
        + a[blocks..]
            .iter()
            .zip(&b[blocks..])
            .take_while(|(a, b)| a == b)
            .count()
}

/// Length of the longest common suffix.
pub(crate) fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let (blocks_a, blocks_b) = (a.as_rchunks::<BLOCK>().1, b.as_rchunks::<BLOCK>().1);
    let equal = blocks_a
        .iter()
        .rev()
        .zip(blocks_b.iter().rev())
        .take_while(|(a, b)| a == b);
    let blocks = equal.count() * BLOCK;
    let (a, b) = (&a[..a.len() - blocks], &b[..b.len() - blocks]);
    blocks
        + a.iter()
            .rev()
            .zip(b.iter().rev())
            .take_while(|(a, b)| a == b)
            .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn common_ends_are_counted(a in prop::collection::vec(0u8..2, 0..300), cut in 0usize..300, tail in prop::collection::vec(0u8..2, 0..9)) {
            let mut b = a[..cut.min(a.len())].to_vec();
            b.extend(&tail);
            let naive = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(common_prefix(&a, &b), naive);
            let (a, b): (Vec<u8>, Vec<u8>) = (a.into_iter().rev().collect(), b.into_iter().rev().collect());
            prop_assert_eq!(common_suffix(&a, &b), naive);
        }
    }
}
