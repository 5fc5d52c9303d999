//! What stands at a peer site in the places of many files, asked for in few round trips.

use parking_lot::Mutex;

use super::transfer::Options;
use crate::bulk::Failure;
use crate::bulk::control::client::{ClientError, Gateway};
use crate::bulk::describe::PATHS_MAX;
use crate::bulk::location::Location;
use crate::bulk::store::Standing;

/// Files whose digests are asked for in one question are no longer than this together, a single
/// one excepted.
const DIGESTED_BYTES_MAX: u64 = 64 << 20;

/// What stands there, or why nothing can.
pub(super) type Looked = Result<Standing, Failure>;

/// One place to look at, and how long the file is that should be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) at: &'a Location,
    pub(super) length: u64,
}

/// What stands in each of these places, all at one site, in their order.
pub(super) fn look(
    gateway: &Gateway,
    options: &Options,
    places: &[Place<'_>],
    digests: bool,
) -> Result<Vec<Looked>, ClientError> {
    let questions = in_questions(places, digests);
    let answers: Vec<_> = questions
        .iter()
        .map(|_| Mutex::new(Ok(Vec::new())))
        .collect();
    let asked: Vec<_> = questions.into_iter().zip(&answers).collect();
    options.for_each(&asked, None, |(places, answer)| {
        let paths = places.iter().map(|place| place.at.path.clone());
        *answer.lock() = gateway.describe(&places[0].at.site, paths, digests);
        true
    });
    let answers = answers.into_iter().map(Mutex::into_inner);
    Ok(answers.collect::<Result<Vec<_>, _>>()?.concat())
}

/// No question is about nothing.
fn in_questions<'a, 'b>(places: &'a [Place<'b>], digests: bool) -> Vec<&'a [Place<'b>]> {
    let (mut questions, mut rest) = (Vec::new(), places);
    while !rest.is_empty() {
        let mut bytes = 0u64;
        let fits = |place: &&Place<'_>| {
            bytes = bytes.saturating_add(place.length);
            !digests || bytes <= DIGESTED_BYTES_MAX
        };
        let count = rest.iter().take(PATHS_MAX).take_while(fits).count();
        let (question, left) = rest.split_at(count.max(1));
        questions.push(question);
        rest = left;
    }
    questions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_neither_too_long_nor_about_too_much() {
        let at: Location = "west:f".parse().unwrap();
        let lengths = |digests, lengths: &[u64]| -> Vec<usize> {
            let places = lengths.iter().map(|&length| Place { at: &at, length });
            let places: Vec<_> = places.collect();
            let questions = in_questions(&places, digests);
            questions.into_iter().map(<[_]>::len).collect()
        };
        let half = DIGESTED_BYTES_MAX / 2;
        assert_eq!(lengths(true, &[u64::MAX, half, half, 1]), [1, 2, 1]);
        assert_eq!(lengths(false, &[u64::MAX, half, half, 1]), [4]);
        assert_eq!(lengths(true, &[0; PATHS_MAX + 1]), [PATHS_MAX, 1]);
        assert_eq!(lengths(true, &[]), [0; 0]);
    }
}
