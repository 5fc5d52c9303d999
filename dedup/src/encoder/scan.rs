//! Finds what of a batch the peer holds already.
//!
//! While a run of references goes on, the batch is compared with the history that should come
//! next, straight in memory. Where they part, the way back is sought first along the threads that
//! earlier versions left, then within a few KiB, to the byte. Only then are content chunks cut and
//! looked up; a match grows in both directions.

use super::align::Aligner;
use super::bases::{Bases, Choice};
use super::common_ends::{common_prefix, common_suffix};
use super::courses::Courses;
use super::found::{Found, Match, Novel};
use super::in_flight::InFlight;
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
/// Window in which two chunks that are much alike are aligned, in bytes.
const ALIKE_WINDOW_BYTES: usize = 8 << 10;
/// Windows in which the way back is sought after an edit, in bytes.
const WINDOWS: [usize; 2] = [768, 8 << 10];

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
        found.push(at, met);
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
        found.meet(at, met);
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
            self.leave_open(found, piece, open, at);
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
                found.push_novel(Novel {
                    range,
                    fingerprint,
                    earlier,
                    guess,
                    features,
                });
                at + len
            }
        }
    }

    /// The batch ends in the middle of a chunk, which goes on in the stream's next.
    fn leave_open(&self, found: &mut Found, piece: Option<OpenPiece>, chunk: OpenChunk, at: usize) {
        let earlier = piece.as_ref().map(|piece| piece.extent);
        let mut hasher = piece.map_or_else(|| self.cutting.chunker.hasher(), |piece| piece.hasher);
        hasher.update(&self.raw[at..]);
        let nothing = Extent {
            at: Position(0),
            len: 0,
        };
        found.open = Some(OpenPiece {
            chunk,
            hasher,
            extent: earlier.unwrap_or(nothing),
        });
        found.push_novel(Novel {
            range: at..self.raw.len(),
            earlier,
            ..Novel::default()
        });
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
        found.meet(at, met);
        Some(Alike::Aligned(met.end()))
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
        found.push(
            at - back,
            Extent {
                at: here.before(back),
                len: forward + back,
            },
        );
        Some(at + forward)
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
