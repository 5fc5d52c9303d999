//! How many handshakes others may have in progress with us: few, and no address all of them.

use std::collections::HashMap;
use std::net::IpAddr;

/// At a time, over QUIC and over TCP each.
const ALL_MAX: usize = 32;
/// Of one address. A peer that looks for us without rest begins a dozen.
const ADDRESS_MAX: usize = 16;

/// What to do with one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit,
    /// The address must prove that it is the sender's own (RFC 9000, section 8.1).
    Prove,
    /// Without an answer.
    Ignore,
}

/// Those in progress, by address.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Handshakes {
    /// Whether even one that was proven would be ignored, whoever it is from.
    pub(crate) fn is_full(&self) -> bool {
        self.all >= ALL_MAX
    }

    /// Addresses that are not proven get half of the room at most: who pretends to be somebody
    /// else cannot keep them out.
    pub(crate) fn judge(&self, address: IpAddr, is_proven: bool) -> Verdict {
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        match is_proven {
            _ if self.is_full() || here >= ADDRESS_MAX => Verdict::Ignore,
            false if self.all >= ALL_MAX / 2 || here >= ADDRESS_MAX / 2 => Verdict::Prove,
            true | false => Verdict::Admit,
        }
    }

    pub(crate) fn begin(&mut self, address: IpAddr) {
        self.all += 1;
        *self.by_address.entry(address).or_default() += 1;
    }

    pub(crate) fn end(&mut self, address: IpAddr) {
        self.all = self.all.saturating_sub(1);
        if let Some(here) = self.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let mut handshakes = Handshakes::default();
        for n in 0..ADDRESS_MAX {
            let expected = match n < ADDRESS_MAX / 2 {
                true => Verdict::Admit,
                false => Verdict::Prove,
            };
            assert_eq!(handshakes.judge(address(1), false), expected);
            assert_eq!(handshakes.judge(address(1), true), Verdict::Admit);
            handshakes.begin(address(1));
        }
        assert_eq!(handshakes.judge(address(1), true), Verdict::Ignore);
        assert_eq!(handshakes.judge(address(2), true), Verdict::Admit);
        handshakes.end(address(1));
        assert_eq!(handshakes.judge(address(1), true), Verdict::Admit);
    }

    #[test]
    fn a_crowd_is_bounded_and_forgotten() {
        let mut handshakes = Handshakes::default();
        for n in 0..ALL_MAX as u8 {
            assert!(!handshakes.is_full());
            handshakes.begin(address(n));
        }
        assert_eq!(handshakes.judge(address(200), true), Verdict::Ignore);
        for n in 0..ALL_MAX as u8 {
            handshakes.end(address(n));
        }
        assert_eq!(handshakes.judge(address(200), false), Verdict::Admit);
        assert!(handshakes.by_address.is_empty());
    }
}
