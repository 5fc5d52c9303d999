//! Handshakes that others have in progress with us: few, shared evenly among the networks they come from.

use std::time::{Duration, Instant};

use crate::network::Network;

/// At a time in each room: see [`Handshakes`].
const ALL_MAX: usize = 32;
/// Of one network. A peer that looks for us without rest begins a dozen.
const NETWORK_MAX: usize = 16;
/// A handshake that takes longer gives its place to a newcomer. Three round trips by satellite are shorter.
const SLOW: Duration = Duration::from_secs(2);

/// What to do with one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit,
    /// In the place of this one: see [`Handshakes::take`].
    Replace(usize),
    /// The address must prove that it is the sender's own (RFC 9000, section 8.1).
    Prove,
    /// Without an answer.
    Ignore,
}

/// Those in progress in one room, the oldest first. Strangers share one room for each transport, and the
/// networks of known peers another. `T` is what ends a handshake.
#[derive(Debug)]
pub(crate) struct Handshakes<T>(Vec<Handshake<T>>);

#[derive(Debug)]
struct Handshake<T> {
    network: Network,
    begun: Instant,
    end: T,
}

impl<T> Default for Handshakes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Handshakes<T> {
    /// Addresses that are not proven get half of the room at most: who pretends to be somebody else cannot
    /// keep that one out. In a full room a newcomer takes the place of the oldest handshake of the largest
    /// crowd if its own network has fewer, or if that handshake is slow.
    pub(crate) fn judge(&self, network: Network, is_proven: bool, now: Instant) -> Verdict {
        let (all, here) = (self.0.len(), self.of(network));
        let has_place = all < ALL_MAX && here < NETWORK_MAX;
        match is_proven {
            false if all >= ALL_MAX / 2 || here >= NETWORK_MAX / 2 => Verdict::Prove,
            true | false if has_place => Verdict::Admit,
            true | false => self.replace(network, now),
        }
    }

    fn replace(&self, network: Network, now: Instant) -> Verdict {
        let here = self.of(network);
        let most = match here < NETWORK_MAX {
            true => self.0.iter().map(|one| self.of(one.network)).max(),
            false => None,
        };
        let is_crowded = |of: Network| match most {
            Some(most) => self.of(of) == most,
            None => of == network,
        };
        let oldest = self.0.iter().position(|one| is_crowded(one.network));
        let is_fair = most.is_some_and(|most| here + 1 < most);
        let is_slow = |at: usize| now.saturating_duration_since(self.0[at].begun) >= SLOW;
        match oldest {
            Some(at) if is_fair || is_slow(at) => Verdict::Replace(at),
            Some(_) | None => Verdict::Ignore,
        }
    }

    fn of(&self, network: Network) -> usize {
        self.0.iter().filter(|one| one.network == network).count()
    }

    pub(crate) fn begin(&mut self, network: Network, now: Instant, end: T) {
        self.0.push(Handshake {
            network,
            begun: now,
            end,
        });
    }

    /// Takes out the one that a verdict names.
    pub(crate) fn take(&mut self, at: usize) -> T {
        self.0.remove(at).end
    }

    /// Takes out those that have ended.
    pub(crate) fn end(&mut self, has_ended: impl Fn(&T) -> bool) {
        self.0.retain(|one| !has_ended(&one.end));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(n: u8) -> Network {
        Network::of(Ipv4Addr::new(192, 0, 2, n).into())
    }

    /// Begins one if it may, in the place of another if it must.
    fn dial(room: &mut Handshakes<u8>, from: u8, now: Instant) -> Verdict {
        let verdict = room.judge(network(from), true, now);
        match verdict {
            Verdict::Replace(at) => drop(room.take(at)),
            Verdict::Admit => {}
            Verdict::Prove | Verdict::Ignore => return verdict,
        }
        room.begin(network(from), now, from);
        verdict
    }

    #[test]
    fn one_network_leaves_room_for_others() {
        let (mut room, now) = (Handshakes::default(), Instant::now());
        for n in 0..NETWORK_MAX {
            let expected = match n < NETWORK_MAX / 2 {
                true => Verdict::Admit,
                false => Verdict::Prove,
            };
            assert_eq!(room.judge(network(1), false, now), expected);
            assert_eq!(dial(&mut room, 1, now), Verdict::Admit);
        }
        assert_eq!(dial(&mut room, 1, now), Verdict::Ignore);
        assert_eq!(dial(&mut room, 2, now), Verdict::Admit);
        assert_eq!(dial(&mut room, 1, now + SLOW), Verdict::Replace(0));
        room.end(|from| *from == 1);
        assert_eq!(dial(&mut room, 1, now), Verdict::Admit);
    }

    #[test]
    fn a_newcomer_takes_a_place_of_the_largest_crowd() {
        let (mut room, now) = (Handshakes::default(), Instant::now());
        for n in 0..ALL_MAX as u8 {
            assert_eq!(dial(&mut room, n % 6, now), Verdict::Admit);
        }
        for n in 0..6 {
            assert_eq!(dial(&mut room, n, now), Verdict::Ignore, "they are even");
        }
        for _ in 0..4 {
            assert!(matches!(dial(&mut room, 200, now), Verdict::Replace(_)));
        }
        let kept = room.of(network(200));
        // Whoever knocks on without rest takes nothing of those who have less.
        for n in 0..200 {
            dial(&mut room, n % 6, now + SLOW);
        }
        assert_eq!((kept, room.of(network(200))), (4, 4));
        assert_eq!(room.0.len(), ALL_MAX);
    }

    #[test]
    fn among_many_networks_who_is_slow_makes_room() {
        let (mut room, now) = (Handshakes::default(), Instant::now());
        for n in 0..ALL_MAX as u8 {
            assert_eq!(dial(&mut room, n, now), Verdict::Admit);
        }
        assert_eq!(dial(&mut room, 200, now), Verdict::Ignore);
        assert_eq!(dial(&mut room, 200, now + SLOW), Verdict::Replace(0));
    }
}
