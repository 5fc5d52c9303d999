//! Another incarnation for a data directory that was copied while both copies go on.
//!
//! Of one incarnation's component two branches exist then: the other gateway's, which the peers know, and
//! ours, which a peer has refused. Peers keep the higher version, so one branch would give way to the
//! other. Here ours is taken apart: the component goes back to how it stood when the two parted, and what
//! was counted here since goes to a component of the new incarnation. From then on both branches are
//! ordinary components, and add up.
//!
//! How the component stood is known from the bases that [`Runs`](super::runs::Runs) keeps while a peer
//! was not heard. The gateway does not run meanwhile: all of it is one step at the end of its journal.

use std::path::Path;

use bytes::Bytes;

use super::counter::{Cleared, Component, Extra, OriginId, SiteId};
use super::keyspace::CounterRef;
use super::merge::TooMany;
use super::record::{CounterRows, CounterUpdates, Part, as_renewed};
use super::state::State;
use super::{Epoch, Grid, GridOpenError, Origin, recovery};

/// What [`renew`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// A peer had refused the gateway of this directory as a copy, so its own counts are known.
    pub was_refused: bool,
    /// Counters that it had changed since, and that now count for the new incarnation.
    pub counters: u64,
}

/// Writes to the journal in `dir`, of a gateway that does not run, that `own` goes on as `incarnation`.
/// Until the gateway is told its new incarnation, too, this may be done again.
pub fn renew(dir: &Path, own: &Origin, incarnation: u64) -> Result<Renewed, GridOpenError> {
    let failed = |source| GridOpenError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut state = State::new(own.clone(), usize::MAX, false);
    let (mut journal, _, _) = recovery::recover(dir, &mut state)?;
    let Some(fork) = state.runs.copied() else {
        return Ok(Renewed::default());
    };
    let new = Origin {
        incarnation,
        ..own.clone()
    };
    let parted = state.part(fork, &new);
    let too_many = |_| failed(std::io::Error::other("too many origins are known"));
    let (records, counters) = parted.map_err(too_many)?;
    journal.write(&records).map_err(failed)?;
    Ok(Renewed {
        was_refused: true,
        counters,
    })
}

impl Grid {
    /// A peer refuses this gateway as a copy of the one that it is linked with. False where nobody
    /// knows any more what was counted here since the two parted.
    pub fn refused_as_copy(&self) -> bool {
        let is_known = self.lock().runs.mark_copied();
        self.flush_soon();
        is_known
    }
}

impl State {
    /// What the journal must say, and of how many counters.
    fn part(&mut self, fork: Epoch, new: &Origin) -> Result<(Vec<Bytes>, u64), TooMany> {
        let origins = std::sync::Arc::make_mut(&mut self.origins);
        let new = origins.intern(new).ok_or(TooMany)?;
        let version = self.epoch.next().0;
        let mut rows = CounterRows::default();
        for (at, base) in self.runs.bases_since(fork) {
            self.part_counter(at, fork, base, (new, version), &mut rows);
        }
        let counters = rows.len() as u64;
        // Of the old incarnation peers are to send all that is newer than what both copies have.
        let complete = [
            (OriginId::OWN, self.runs.from().min(fork)),
            (new, Epoch(version)),
        ];
        let records = rows.encode(&self.origins, &complete).into_iter();
        let records = records.map(|record| as_renewed(&record)).collect();
        Ok((records, counters))
    }

    fn part_counter(
        &mut self,
        at: CounterRef,
        fork: Epoch,
        base: Component,
        (new, version): (OriginId, u64),
        rows: &mut CounterRows,
    ) {
        self.clear_if_due(at);
        let own = self.keys.counter(at).own;
        let cleared = self.keys.extra(at).and_then(|e| e.cleared(OriginId::OWN));
        // Only here; what both copies cleared, or somebody else, stays as it is.
        let cleared = cleared.filter(|cleared| {
            let epoch = cleared.epoch();
            epoch > fork.0 && self.runs.used(epoch)
        });
        if own == base && cleared.is_none() {
            return;
        }
        let part = |origin, component| Part { origin, component };
        let moved = Component {
            version,
            sum: own.sum.wrapping_sub(base.sum),
        };
        let extra = cleared.map(|cleared| cleared_apart(cleared, base, (new, version)));
        let parts = [part(OriginId::OWN, base), part(new, moved)];
        let nothing = (0, SiteId::OWN, false);
        rows.push(self.keys.key_of(at), nothing, parts, extra.as_ref());
    }

    /// Takes what the journal says of a renewal. It is not merged: the old incarnation's components go
    /// back.
    pub(super) fn take_renewed(&mut self, updates: &CounterUpdates) -> Result<(), TooMany> {
        let numbers = self.intern(updates)?;
        for row in &updates.rows {
            let (key, field) = updates.key(row);
            let at = self.place_or_create(key, field)?;
            for (origin, component) in updates.parts(row) {
                match numbers.origin(*origin) {
                    OriginId::OWN => {
                        self.keys.counter_mut(at).own = *component;
                        self.epoch = self.epoch.max(Epoch(component.version));
                    }
                    origin => self.keys.put_other(at, origin, *component),
                }
            }
            let more = updates.more(row).map(|more| numbers.extra(more).cleared);
            for (origin, cleared) in more.unwrap_or_default() {
                self.keys
                    .change_extra(at, |extra| extra.replace_cleared(origin, cleared));
            }
        }
        for (origin, epoch) in &updates.complete {
            match numbers.origin(*origin) {
                OriginId::OWN => self.epoch = self.epoch.max(*epoch),
                origin => drop(self.watermarks.insert(origin, *epoch)),
            }
        }
        Ok(())
    }
}

/// What was cleared here since the two copies parted, when the component was `base`: that goes with it,
/// and the rest with the new incarnation's component.
fn cleared_apart(cleared: Cleared, base: Component, (new, version): (OriginId, u64)) -> Extra {
    let of_base = Cleared {
        half_epoch: 2 * base.version,
        sum: base.sum,
    };
    let of_new = Cleared {
        half_epoch: 2 * version - 1,
        sum: cleared.sum.wrapping_sub(base.sum),
    };
    Extra {
        cleared: vec![(OriginId::OWN, of_base), (new, of_new)],
        ..Extra::default()
    }
}
