//! What every site is known to hold: from statements that sites make of themselves and pass on.
//!
//! A statement says how far a site durably holds every origin's counters, and which peers it has. All
//! sites that lead from peer to peer are *members*. What each of them holds is *stable*: nothing older
//! is on its way to anybody, once we hold all that each member held when it said so.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hashbrown::HashMap;
use strait_transport::SiteName;

use super::super::counter::{OriginId, SiteId};
use super::super::origins::SITES_MAX;
use super::super::record::site_name;
use super::super::scan::Show;
use super::super::state::State;
use super::super::varint::{Malformed, Reader, put, put_bytes};
use super::super::{Epoch, FlushNumber, Grid, Origin, Positions};
use super::Rule;

const VERSION: u8 = 1;
/// Epochs for each millisecond of the clock, as in [`runs`](super::super::runs): a later start gives a higher
/// number.
const RUNS_PER_MS: u64 = 1 << 12;

/// What one site says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    origin: Origin,
    /// Rises with every start of the gateway.
    run: u64,
    /// Rises with every statement of a run.
    number: u64,
    peers: BTreeSet<SiteName>,
    /// Up to where the site durably holds all of each origin; none while it cannot say.
    holds: BTreeMap<Origin, Epoch>,
}

/// A statement that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a statement of what a site holds is malformed: {0}")]
pub struct StatementError(&'static str);

impl Statement {
    /// Encoded, at most [`RECORD_BYTES_MAX`](super::super::RECORD_BYTES_MAX).
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        put_bytes(&mut out, self.origin.site.as_ref().as_bytes());
        out.extend(self.origin.incarnation.to_le_bytes());
        put(&mut out, self.run);
        put(&mut out, self.number);
        put(&mut out, self.peers.len() as u64);
        for peer in &self.peers {
            put_bytes(&mut out, peer.as_ref().as_bytes());
        }
        let holds = Positions {
            watermarks: self.holds.clone(),
            ..Positions::default()
        };
        // One piece: there are few enough origins.
        out.extend(holds.encode().into_iter().flatten());
        out.into()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`StatementError`]: it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        Self::read(bytes).map_err(|error| StatementError(error.0))
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > BYTES_MAX {
            return Err(Malformed("too long"));
        }
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Malformed("unknown version"));
        }
        let site = site_name(reader.bytes()?)?;
        let incarnation = reader.u64_le()?;
        let (run, number) = (reader.varint()?, reader.varint()?);
        let mut peers = BTreeSet::new();
        for _ in 0..reader.bounded(SITES_MAX)? {
            peers.insert(site_name(reader.bytes()?)?);
        }
        let mut holds = Positions::default();
        let read = holds.extend_from(reader.rest());
        read.map_err(|_| Malformed("positions that cannot be read"))?;
        Ok(Self {
            origin: Origin { site, incarnation },
            run,
            number,
            peers,
            holds: holds.watermarks,
        })
    }

    /// Whether there is nothing in `other` that this does not say.
    pub(crate) fn says_as_much_as(&self, other: &Self) -> bool {
        self.is_of_run(other) && self.peers == other.peers && self.holds == other.holds
    }

    fn is_of_run(&self, other: &Self) -> bool {
        (&self.origin, self.run) == (&other.origin, other.run)
    }
}

/// What one site has said of itself.
#[derive(Debug, Default)]
struct Said {
    /// We hold all that the site held then.
    counts: Option<Statement>,
    /// We do not yet. A later one does not take its place until then, or none would ever count.
    waits: Option<Statement>,
    /// The last of those that came meanwhile: they are said only once.
    later: Option<Statement>,
}

impl Said {
    fn last(&self) -> Option<&Statement> {
        let waits = self.later.as_ref().or(self.waits.as_ref());
        waits.or(self.counts.as_ref())
    }

    /// Has those count of which `is_held` says that we hold all that the site held then.
    fn settle(&mut self, is_held: impl Fn(&Statement) -> bool) {
        while let Some(counts) = self.waits.take_if(|waits| is_held(waits)) {
            self.counts = Some(counts);
            self.waits = self.later.take();
        }
    }

    /// Whether any of them says so.
    fn any(&self, says: impl Fn(&Statement) -> bool) -> bool {
        let all = [&self.counts, &self.waits, &self.later];
        all.into_iter().flatten().any(says)
    }

    /// Takes a statement that came from the site itself (`is_direct`) or through others.
    fn hear(&mut self, said: Statement, is_direct: bool) {
        match self.last() {
            Some(last) if last.is_of_run(&said) => {
                if said.number > last.number {
                    let place = match self.waits {
                        None => &mut self.waits,
                        Some(_) => &mut self.later,
                    };
                    *place = Some(said);
                }
            }
            // Whatever was said before may hold no longer: its directory may have been put back.
            Some(last) if !is_direct && (said.run, said.number) <= (last.run, last.number) => {}
            Some(_) | None => {
                *self = Self {
                    waits: Some(said),
                    ..Self::default()
                }
            }
        }
    }
}

/// A longer one is not made, nor read.
const BYTES_MAX: usize = 64 << 10;

/// All sites that are known, and what they said.
#[derive(Debug, Default)]
pub(in crate::grid) struct Members {
    run: u64,
    number: u64,
    /// Our own peers.
    pub(in crate::grid) peers: BTreeSet<SiteName>,
    said: BTreeMap<SiteName, Said>,
}

impl Members {
    /// A peer durably holds no more than `theirs`: what it said before may hold no longer, as its directory
    /// may have been put back.
    pub(in crate::grid) fn hear_positions(&mut self, peer: &SiteName, theirs: &Positions) {
        let falls = |said: &Statement| {
            let mut holds = said.holds.iter();
            let falls = holds.any(|(origin, epoch)| theirs.watermark(origin) < *epoch);
            falls && !Rule::FollowFallingPositions.is_broken()
        };
        if let Some(said) = self.said.get_mut(peer)
            && said.any(falls)
        {
            *said = Said::default();
        }
    }

    pub(in crate::grid) fn new(peers: BTreeSet<SiteName>, now_ms: u64) -> Self {
        Self {
            run: now_ms.saturating_mul(RUNS_PER_MS),
            peers,
            ..Self::default()
        }
    }

    /// What every member says, and the names of those that have not yet.
    fn all(&self, own: &SiteName) -> (Vec<&Statement>, Vec<SiteName>) {
        let mut seen = BTreeSet::from([own]);
        let mut next: Vec<_> = self.peers.iter().collect();
        let (mut all, mut missing) = (Vec::new(), Vec::new());
        while let Some(site) = next.pop() {
            if !seen.insert(site) {
                continue;
            }
            match self.said.get(site).and_then(|said| said.counts.as_ref()) {
                Some(said) => {
                    if !Rule::AskPeersOfPeers.is_broken() {
                        next.extend(&said.peers);
                    }
                    all.push(said);
                }
                None => missing.push(site.clone()),
            }
        }
        (all, missing)
    }
}

/// What is known to be held by every member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::grid) struct Stable {
    /// Every member has said what it holds.
    pub(in crate::grid) is_known: bool,
    epochs: HashMap<OriginId, Epoch>,
}

impl Stable {
    pub(in crate::grid) fn covers(&self, origin: OriginId, version: u64) -> bool {
        let epoch = self.epochs.get(&origin);
        version == 0 || epoch.is_some_and(|epoch| version <= epoch.0)
    }
}

impl State {
    /// What we say of ourselves now.
    fn own_statement(&mut self) -> Statement {
        self.members.number += 1;
        // Until peers were heard after a start our journal may lack what others count on.
        let is_unheard = self.runs.is_open() || self.doubtful;
        let holds = match is_unheard && !Rule::SayNothingUnheard.is_broken() {
            true => BTreeMap::new(),
            false => {
                let held = self.completeness(Show::Durable).into_iter();
                held.map(|(origin, epoch)| (self.origins.origin(origin).clone(), epoch))
                    .collect()
            }
        };
        Statement {
            origin: self.origins.origin(OriginId::OWN).clone(),
            run: self.members.run,
            number: self.members.number,
            peers: self.members.peers.clone(),
            holds,
        }
    }

    /// Has statements count of which we hold all that the site held.
    fn settle_statements(&mut self) {
        let held = self.completeness(Show::Durable);
        let held: HashMap<_, _> = held.into_iter().collect();
        let origins = &self.origins;
        let covers = |(origin, epoch): (&Origin, &Epoch)| {
            let known = origins.find(origin).and_then(|id| held.get(&id));
            known.is_some_and(|known| known >= epoch) || epoch.0 == 0
        };
        for said in self.members.said.values_mut() {
            said.settle(|waits| {
                Rule::HoldWhatMembersHold.is_broken() || waits.holds.iter().all(covers)
            });
        }
    }

    /// What every member holds; and the members that have not said, or hold less than we do.
    pub(in crate::grid) fn find_stable(&mut self) -> (Stable, Vec<SiteName>) {
        self.settle_statements();
        let (all, mut behind) = self.members.all(self.origins.site(SiteId::OWN));
        let ours: HashMap<_, _> = self.completeness(Show::Durable).into_iter().collect();
        let mut stable = Stable {
            is_known: behind.is_empty(),
            epochs: ours.clone(),
        };
        let asked = all.iter().filter(|_| !Rule::AskMembers.is_broken());
        for said in asked {
            let mut is_behind = false;
            for (origin, epoch) in &mut stable.epochs {
                let held = said.holds.get(self.origins.origin(*origin));
                let held = held.copied().unwrap_or_default();
                is_behind |= held < ours[origin];
                *epoch = held.min(*epoch);
            }
            if is_behind {
                behind.push(said.origin.site.clone());
            }
        }
        (stable, behind)
    }
}

impl State {
    /// Whether the peer holds more than we do of an origin that is no member's any more.
    fn lacks_of_ended(&self, peer: &SiteName) -> bool {
        let said = self.members.said.get(peer).and_then(Said::last);
        let is_live = |origin: &Origin| {
            let is_it = |said: &Statement| said.origin == *origin;
            let mut said = self.members.said.values().filter_map(Said::last);
            *origin == *self.origins.origin(OriginId::OWN) || said.any(is_it)
        };
        let held = |origin: &Origin| {
            let id = self.origins.find(origin);
            id.and_then(|id| self.durable_watermarks.get(&id)).copied()
        };
        let lacks = |(origin, epoch): (&Origin, &Epoch)| {
            held(origin).unwrap_or_default() < *epoch && !is_live(origin)
        };
        said.is_some_and(|said| said.holds.iter().any(lacks))
    }
}

impl Grid {
    /// What we, and all others that we have heard of, say of what they hold: for the peer `to`. It may be
    /// told only after all flushes up to the one that comes with it.
    pub fn statements(&self, to: &SiteName) -> (FlushNumber, Vec<Statement>) {
        let mut state = self.state.lock();
        let own = state.own_statement();
        let others = state.members.said.iter().filter(|(site, _)| *site != to);
        let others = others.filter_map(|(_, said)| said.last().cloned());
        let said = std::iter::once(own).chain(others).collect();
        (state.flush_number, said)
    }

    /// Takes what `from` says of itself or has heard of others. Of our own peers each speaks for itself:
    /// what it said reaches us behind all that it sent before. Whether `from` is to be told what we hold:
    /// it has all of an origin that writes no more, of which nothing else says that we should.
    pub fn hear_statement(&self, from: &SiteName, said: Statement) -> bool {
        let mut state = self.state.lock();
        let site = said.origin.site.clone();
        let members = &mut state.members;
        let is_direct = site == *from;
        let is_hearsay = !is_direct && members.peers.contains(&site);
        let speaks = !is_hearsay || Rule::HearPeersThemselves.is_broken();
        let has_room = members.said.len() < SITES_MAX || members.said.contains_key(&site);
        if site != self.config.site && has_room && speaks {
            members.said.entry(site).or_default().hear(said, is_direct);
        }
        is_direct && state.lacks_of_ended(from)
    }

    /// The peers that we have from now on. One that is gone for good holds up no forgetting any more.
    pub fn set_peers(&self, peers: BTreeSet<SiteName>) {
        self.state.lock().members.peers = peers;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statement(site: &str, run: u64, number: u64) -> Statement {
        Statement {
            origin: Origin {
                site: site.parse().unwrap(),
                incarnation: 7,
            },
            run,
            number,
            peers: BTreeSet::from(["west".parse().unwrap()]),
            holds: BTreeMap::from([(
                Origin {
                    site: "west".parse().unwrap(),
                    incarnation: 3,
                },
                Epoch(number),
            )]),
        }
    }

    #[test]
    fn statements_come_back() {
        let said = statement("east", 1 << 60, 5);
        assert_eq!(Statement::decode(&said.encode()), Ok(said));
    }

    #[test]
    fn what_a_site_says_after_a_start_ends_what_it_said_before() {
        let mut said = Said::default();
        said.hear(statement("east", 5, 1), false);
        said.counts = said.waits.take();
        said.hear(statement("east", 5, 2), false);
        // Another one, or it would wait for ever.
        said.hear(statement("east", 5, 3), false);
        assert_eq!(said.waits, Some(statement("east", 5, 2)));
        said.hear(statement("east", 4, 9), false);
        assert_eq!(said.waits, Some(statement("east", 5, 2)));
        // Its clock was set back: it knows best.
        said.hear(statement("east", 4, 9), true);
        assert_eq!(said.waits, Some(statement("east", 4, 9)));
        assert_eq!(said.counts, None);
    }

    #[test]
    fn a_statement_that_comes_while_another_waits_counts_after_it() {
        let mut said = Said::default();
        for number in 1..=4 {
            said.hear(statement("east", 5, number), true);
        }
        let holds = |epoch| move |said: &Statement| said.holds.values().all(|held| *held <= epoch);
        said.settle(holds(Epoch(1)));
        assert_eq!(said.counts, Some(statement("east", 5, 1)));
        assert_eq!(said.waits, Some(statement("east", 5, 4)));
        said.settle(holds(Epoch(4)));
        assert_eq!(said.counts, Some(statement("east", 5, 4)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            drop(Statement::decode(&[&[VERSION], &bytes[..]].concat()));
        }
    }
}
