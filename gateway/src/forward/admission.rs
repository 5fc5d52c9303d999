//! How many connections the forwards of one peer take at a time, and how many of them one client may
//! have: no client has all descriptors, memory or flows. Counted from when a connection is accepted,
//! so also while it waits for the link or goes straight to its target.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// As many as a link has flows.
const CONNECTIONS_MAX: usize = super::peer::FLOWS_MAX;
/// A third is left for others.
const CLIENT_CONNECTIONS_MAX: usize = CONNECTIONS_MAX / 3 * 2;

/// Connections of clients to one peer's forwards.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Crowded {
    #[error("the forwards to this peer have {CONNECTIONS_MAX} connections, and no more at a time")]
    Peer,
    #[error("this client has {CLIENT_CONNECTIONS_MAX} connections, and no more at a time")]
    Client,
}

impl Admission {
    /// Room for one connection of `client`, for as long as the result lives.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Admitted<'_>, Crowded> {
        let client = client.to_canonical();
        let mut open = self.0.lock();
        if open.all >= CONNECTIONS_MAX {
            return Err(Crowded::Peer);
        }
        let own = open.by_client.entry(client).or_default();
        if *own >= CLIENT_CONNECTIONS_MAX {
            return Err(Crowded::Client);
        }
        *own += 1;
        open.all += 1;
        Ok(Admitted {
            admission: self,
            client,
        })
    }
}

/// Room for a connection.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    admission: &'a Admission,
    client: IpAddr,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut open = self.admission.0.lock();
        open.all -= 1;
        if let Some(own) = open.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_room_for_others_and_all_are_bounded() {
        let admission = Admission::default();
        let (greedy, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let take = |client| std::iter::from_fn(|| admission.admit(client).ok()).collect::<Vec<_>>();
        let taken = take(greedy);
        assert_eq!(taken.len(), CLIENT_CONNECTIONS_MAX);
        assert_eq!(admission.admit(greedy).unwrap_err(), Crowded::Client);
        let rest = take(other);
        assert_eq!(taken.len() + rest.len(), CONNECTIONS_MAX);
        assert_eq!(admission.admit(other).unwrap_err(), Crowded::Peer);
        drop((taken, rest));
        let open = admission.0.lock();
        assert_eq!((open.all, open.by_client.len()), (0, 0));
    }
}
