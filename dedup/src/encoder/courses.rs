//! The courses that a stream has lately taken through history.
//!
//! A course is a difference between positions in history and offsets in the batch. A stream that
//! resembles an old file keeps one course for long, shifted a little by each insertion; a passage
//! that also stands elsewhere takes it off to another, from which it comes back. So a few are kept.

use crate::history::Position;

/// Courses remembered.
const COURSES_MAX: usize = 4;
/// Trust in a course grows with each byte that it foretells, up to this, and shrinks with each that
/// it does not.
const TRUST_BYTES_MAX: usize = 32 << 10;
/// A smaller shift is the same course after an edit.
const SHIFT_BYTES_MAX: u64 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    /// Position less offset, modulo 2⁶⁴.
    diagonal: u64,
    /// Where the stream left it: what followed may have been appended just there.
    left: Position,
    trust: usize,
}

/// The courses of a stream, the one followed last first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Courses(Vec<Course>);

impl Courses {
    /// The stream at `offset` was found to stand at `at` for `len` bytes.
    pub(super) fn met(&mut self, offset: usize, at: Position, len: usize) {
        let diagonal = at.0.wrapping_sub(offset as u64);
        let same = |course: &Course| {
            let shift = course.diagonal.wrapping_sub(diagonal) as i64;
            shift.unsigned_abs() <= SHIFT_BYTES_MAX
        };
        let place = self.0.iter().position(same);
        let known = place.map(|place| self.0.remove(place).trust).unwrap_or(0);
        if self.0.len() == COURSES_MAX {
            let least = (0..COURSES_MAX)
                .min_by_key(|&n| self.0[n].trust)
                .unwrap_or(0);
            self.0.remove(least);
        }
        let trust = (known + len).min(TRUST_BYTES_MAX);
        self.0.insert(
            0,
            Course {
                diagonal,
                left: at.after(len),
                trust,
            },
        );
    }

    /// No course foretold the next `len` bytes.
    pub(super) fn missed(&mut self, len: usize) {
        for course in &mut self.0 {
            course.trust = course.trust.saturating_sub(len);
        }
    }

    /// Where the stream left the course followed last.
    pub(super) fn latest(&self) -> Option<Position> {
        self.0.first().map(|course| course.left)
    }

    /// Where the stream would stand at `offset`, by the course most trusted.
    pub(super) fn main(&self, offset: usize) -> Option<Position> {
        // Of equals the one followed last.
        let main = self.0.iter().rev().max_by_key(|course| course.trust)?;
        Some(main.position(offset))
    }

    /// By every course, the one followed last first.
    pub(super) fn all(&self, offset: usize) -> impl Iterator<Item = Position> {
        self.0
            .iter()
            .flat_map(move |course| course.positions(offset))
    }

    /// By the courses still trusted.
    pub(super) fn trusted(&self, offset: usize) -> impl Iterator<Item = Position> {
        let trusted = self.0.iter().filter(|course| course.trust > 0);
        trusted.flat_map(move |course| course.positions(offset))
    }

    /// The next batch begins after `len` bytes of this one.
    pub(super) fn advance(&mut self, len: usize) {
        for course in &mut self.0 {
            course.diagonal = course.diagonal.wrapping_add(len as u64);
        }
    }
}

impl Course {
    fn position(self, offset: usize) -> Position {
        Position(self.diagonal.wrapping_add(offset as u64))
    }

    /// Where it was left, and where it would be now had the stream not left it.
    fn positions(self, offset: usize) -> impl Iterator<Item = Position> {
        let now = self.position(offset);
        [Some(self.left), Some(now).filter(|now| *now != self.left)]
            .into_iter()
            .flatten()
    }
}
