//! Which epochs this site has used, so that what a journal lost is told from what it holds.
//!
//! A journal may lose what it had fsynced: a directory that was put back from an older copy, the
//! snapshot of a machine, a disk that lies. Then the site goes on from an older state, and peers hold
//! epochs of it that it knows nothing of. So each start goes on with epochs that come from the clock and
//! from chance: no two runs use the same ones, whatever they began from, and what a peer holds of an epoch
//! that no run used was lost here.
//!
//! The two branches of a counter then make one: what was added in either since they were one counts.
//! For that the component that a counter goes on from, its *base*, is kept from the first change in
//! a run until every peer was heard: moments after most starts. Nothing else of this
//! crosses a link, and a counter has no more components than before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use strait_transport::SiteName;

use super::counter::{Cleared, Component};
use super::keyspace::CounterRef;
use super::record::{KIND_RUNS, Malformed, VERSION, version};
use super::varint::{Reader, put};
use super::{Epoch, Ticket};

/// Epochs for each millisecond, more than there can be flushes: so a run's are above all that were used
/// before it began, known here or not. It begins in the first half of those of its millisecond.
const EPOCHS_PER_MS: u64 = 1 << 12;
/// None comes from a clock that says more.
const EPOCH_MAX: u64 = 1 << 60;
/// The last under which anything is written: records with a later one are not read, see
/// [`version`].
pub(super) const EPOCH_LAST: Epoch = Epoch((1 << 62) - 1);
/// How far epochs that a peer holds of us may be ahead of the clock: some 70 years, as ours may have
/// been wrong when they were used. Not how far ahead of our own epoch: a peer would say that time and
/// again, each time a little more.
const EPOCHS_AHEAD_MAX: u64 = 1 << 53;
/// Epochs that are left out when the clock says less than the journal.
const LEFT_OUT: std::ops::Range<u64> = 1 << 16..1 << 32;
/// Runs that are told apart; of older ones what lies between counts as theirs.
const RUNS_MAX: usize = 256;
/// About what [`Runs::bases`] takes for each.
const BASE_BYTES: usize = 72;

/// What our component of a counter was when a run began that changed it, or what a peer showed since that it
/// had become in a run that was lost.
#[derive(Clone, Copy, Debug)]
struct Base {
    component: Component,
    /// What the journal says of it.
    written: Component,
}

/// The latest clears of our component of a counter in the two branches that become one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clears {
    pub(super) lost: Cleared,
    pub(super) since: Cleared,
}

impl Clears {
    /// What the lost branch's sum is to be reduced by: the base that both went on from. Where both cleared
    /// it, each counts from its own clear on, and the later of these will be that of the sum.
    fn sum_before(self, base: Component) -> i64 {
        let Self { lost, since } = self;
        if lost.half_epoch.min(since.half_epoch) > base.version.saturating_mul(2) {
            lost.min(since).sum
        } else {
            base.sum
        }
    }
}

/// Runs of this site in which not every peer was heard.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Peers that were not heard in this run.
    unheard: BTreeSet<SiteName>,
    /// Whether bases are kept.
    open: bool,
    /// See [`Runs::is_begun`].
    begun: bool,
    /// Up to here peers hold nothing that we lack.
    from: Epoch,
    /// First and last epochs of the runs since, but this one.
    ended: Vec<(Epoch, Epoch)>,
    /// First epoch of this one.
    first: Epoch,
    /// Epochs within runs that were used by none of them: first and last of each stretch.
    skipped: Vec<(Epoch, Epoch)>,
    /// With the last epoch before the run that changed the counter.
    bases: BTreeMap<(CounterRef, Epoch), Base>,
    /// A peer refuses this gateway as a copy: after this epoch, at the latest, it and the other one
    /// parted.
    copied: Option<Epoch>,
    /// The journal does not say this yet.
    unwritten: bool,
    /// All peers were heard; over when this is on disk.
    closing: Option<Ticket>,
}

/// The highest epoch that this site can have used by now.
pub(super) fn epoch_limit(now_ms: u64) -> Epoch {
    Epoch(now_ms.min(EPOCH_MAX / EPOCHS_PER_MS) * EPOCHS_PER_MS + EPOCHS_AHEAD_MAX)
}

impl Runs {
    /// A run begins after `last`, the last epoch that the journal holds; its first epoch. No other run of
    /// this site began in the same millisecond, `now_ms`, whatever the journal says: unless the clock was
    /// set back to the very same. Until all of `peers` are heard it is open.
    pub(super) fn begin(&mut self, last: Epoch, now_ms: u64, peers: BTreeSet<SiteName>) -> Epoch {
        let was_open = self.open;
        self.end_run(last);
        if !was_open {
            self.from = last;
            self.ended.clear();
            self.skipped.clear();
            self.copied = None;
        }
        let now = now_ms.min(EPOCH_MAX / EPOCHS_PER_MS) * EPOCHS_PER_MS;
        let now = now + rand::random_range(0..EPOCHS_PER_MS / 2);
        self.first = match now > last.0 {
            true => Epoch(now),
            false => Epoch(last.0 + rand::random_range(LEFT_OUT)).min(EPOCH_LAST),
        };
        self.open = !peers.is_empty();
        self.begun = true;
        self.unheard = peers;
        self.unwritten = self.open || was_open;
        if !self.open {
            self.bases.clear();
        }
        self.first
    }

    /// A peer knows of epochs up to `lost`, above all of ours: ours go on after it.
    pub(super) fn go_beyond(&mut self, last: Epoch, lost: Epoch) {
        if !self.open {
            return;
        }
        let is_full = self.skipped.len() >= RUNS_MAX;
        match self.skipped.last_mut() {
            // None of ours lies between.
            Some((_, end)) if *end == last => *end = lost,
            Some(_) | None if is_full => return,
            Some(_) | None => self.skipped.push((last.next(), lost)),
        }
        self.unwritten = true;
    }

    fn end_run(&mut self, last: Epoch) {
        if last >= self.first && self.open {
            self.ended.push((self.first, last));
        }
        if let [(first, _), (_, last), ..] = self.ended[..]
            && self.ended.len() > RUNS_MAX
        {
            self.ended.splice(..2, [(first, last)]);
        }
    }

    /// A peer refuses this gateway as a copy. False where nobody knows any more what was counted since
    /// the two parted.
    pub(super) fn mark_copied(&mut self) -> bool {
        if self.open && self.copied.is_none() {
            let (fork, _) = self.run_of(self.first.0);
            self.copied = Some(fork);
            self.unwritten = true;
        }
        self.copied.is_some()
    }

    /// After which epoch, at the latest, this gateway and one that it is a copy of parted.
    pub(super) fn copied(&self) -> Option<Epoch> {
        self.copied
    }

    /// Up to where peers hold nothing of ours that we lack.
    pub(super) fn from(&self) -> Epoch {
        self.from
    }

    /// What our component of each counter was at `fork` that has changed since.
    pub(super) fn bases_since(&self, fork: Epoch) -> BTreeMap<CounterRef, Component> {
        let since = self.bases.iter().filter(|((_, at), _)| *at >= fork);
        let mut first = BTreeMap::new();
        for ((counter, _), base) in since {
            first.entry(*counter).or_insert(base.component);
        }
        first
    }

    /// Whether there may be a peer that holds what we lost.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the journal is read. Never so where there is none.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Whether every peer has told all that it holds of us, so that none can give back anything.
    pub(super) fn is_settled(&self) -> bool {
        self.begun && !self.open
    }

    /// Up to where `peer` may be told that we hold our own: none, as far as our journal says.
    pub(super) fn claim_to(&self, peer: &SiteName) -> Option<Epoch> {
        (self.open && self.unheard.contains(peer)).then_some(self.from)
    }

    /// Whether a run that is still open used this epoch.
    pub(super) fn used(&self, epoch: u64) -> bool {
        let within = |(first, last): &(Epoch, Epoch)| (first.0..=last.0).contains(&epoch);
        self.open
            && (epoch >= self.first.0 || self.ended.iter().any(within))
            && !self.skipped.iter().any(within)
    }

    /// Whether this epoch, which a peer names and which is not above ours, was lost here.
    pub(super) fn lost(&self, epoch: u64) -> bool {
        self.open && epoch > self.from.0 && !self.used(epoch)
    }

    /// The last epoch before the run that an epoch is of, and the first of the run; of an epoch that no
    /// run used: of the run after it.
    fn run_of(&self, epoch: u64) -> (Epoch, Epoch) {
        let before = self.ended.iter().take_while(|(_, last)| last.0 < epoch);
        let before = before.count();
        let fork = before
            .checked_sub(1)
            .map_or(self.from, |place| self.ended[place].1);
        let first = self
            .ended
            .get(before)
            .map_or(self.first, |(first, _)| *first);
        (fork, first)
    }

    /// Our component of `at`, which is this, is about to change under the `next` version.
    fn keep_at(&mut self, at: CounterRef, component: Component, next: u64) {
        let (fork, first) = self.run_of(next);
        if component.version < first.0 {
            let base = Base {
                component,
                written: component,
            };
            self.bases.entry((at, fork)).or_insert(base);
        }
    }

    /// What our component of `at` goes on from, if it has changed in a run that is open.
    pub(super) fn base(&self, at: CounterRef) -> Option<Component> {
        let mut bases = self.bases.range((at, Epoch(0))..=(at, Epoch(u64::MAX)));
        bases.next().map(|(_, base)| base.component)
    }

    /// It goes on from this instead.
    pub(super) fn set_base(&mut self, at: CounterRef, component: Component) {
        let bases = self.bases.range_mut((at, Epoch(0))..=(at, Epoch(u64::MAX)));
        for (_, base) in bases.take(1) {
            base.component = component;
        }
    }

    /// Our component of `at`, which is this, is about to change.
    pub(super) fn keep(&mut self, at: CounterRef, component: Component) {
        if self.open {
            self.keep_at(at, component, self.first.0);
        }
    }

    /// The journal shows what became of our component of `at`, which is this so far.
    pub(super) fn replay(&mut self, at: CounterRef, component: Component, next: u64) {
        if self.used(next) {
            self.keep_at(at, component, next);
        }
    }

    /// What is to be added to our component of `at` when a peer, or the journal, shows it as it was in
    /// a run that was lost; none if no run since has changed it.
    pub(super) fn take_back(
        &mut self,
        at: CounterRef,
        lost: Component,
        cleared: Clears,
    ) -> Option<i64> {
        if self.bases.is_empty() || self.used(lost.version) {
            return None;
        }
        let (fork, _) = self.run_of(lost.version);
        let mut since = self.bases.range_mut((at, fork)..=(at, Epoch(u64::MAX)));
        let (_, base) = since.next()?;
        if lost.version <= base.component.version {
            return Some(0);
        }
        let before = cleared.sum_before(base.component);
        let more = lost.sum.wrapping_sub(before);
        base.component = lost;
        Some(more)
    }

    /// What the journal must hold before our component of `at`, if it does not yet.
    pub(super) fn take_unwritten(&mut self, at: CounterRef) -> Vec<Component> {
        if self.bases.is_empty() {
            return Vec::new();
        }
        let bases = self.bases.range_mut((at, Epoch(0))..=(at, Epoch(u64::MAX)));
        let news = bases.filter(|(_, base)| base.component != base.written);
        news.map(|(_, base)| {
            base.written = base.component;
            base.component
        })
        .collect()
    }

    /// Bases of all counters as the journal knows them, the older ones of each first.
    pub(super) fn bases(&self) -> impl Iterator<Item = (CounterRef, Component)> {
        let bases = self.bases.iter();
        bases.map(|((at, _), base)| (*at, base.written))
    }

    /// `peer` told all that it holds of ours; `ticket` stands for the flush that has it.
    pub(super) fn heard(&mut self, peer: &SiteName, ticket: Ticket) {
        if self.unheard.remove(peer) && self.unheard.is_empty() && self.open {
            self.closing = Some(ticket);
        }
    }

    /// What `ticket` stands for is on disk.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        if self.closing.is_some_and(|closing| ticket >= closing) {
            *self = Self {
                unwritten: true,
                begun: true,
                first: self.first,
                ..Self::default()
            };
        }
    }

    /// Memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.bases.len() * BASE_BYTES
    }

    /// Whether the journal must say so although nothing else has changed.
    pub(super) fn is_urgent(&self) -> bool {
        self.unwritten && self.copied.is_some()
    }

    /// The record for the journal, if that does not say so yet.
    pub(super) fn news(&mut self, incarnation: u64) -> Option<Bytes> {
        std::mem::take(&mut self.unwritten).then(|| self.record(incarnation))
    }

    /// The record for the journal, in front of all that it is about.
    pub(super) fn record(&self, incarnation: u64) -> Bytes {
        let mut out = vec![VERSION, KIND_RUNS];
        out.extend(incarnation.to_le_bytes());
        put(&mut out, u64::from(self.open));
        put(&mut out, self.from.0);
        put(&mut out, self.first.0);
        for stretches in [&self.ended, &self.skipped] {
            put(&mut out, stretches.len() as u64);
            for (first, last) in stretches {
                put(&mut out, first.0);
                put(&mut out, last.0);
            }
        }
        if let Some(copied) = self.copied {
            put(&mut out, copied.0);
        }
        out.into()
    }

    /// Takes what [`Self::record`] wrote; one of another incarnation says nothing.
    pub(super) fn read(&mut self, body: &[u8], incarnation: u64) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        if reader.u64_le()? != incarnation {
            return Ok(());
        }
        let open = reader.varint()? != 0;
        let epoch = |reader: &mut Reader<'_>| Ok(Epoch(version(reader.varint()?)?));
        let (from, first) = (epoch(&mut reader)?, epoch(&mut reader)?);
        let [mut ended, mut skipped] = [Vec::new(), Vec::new()];
        for stretches in [&mut ended, &mut skipped] {
            for _ in 0..reader.bounded(RUNS_MAX)? {
                stretches.push((epoch(&mut reader)?, epoch(&mut reader)?));
            }
        }
        // The release before ends here.
        let copied = match reader.is_empty() {
            true => None,
            false => Some(epoch(&mut reader)?),
        };
        if !open || from != self.from {
            self.bases.clear();
        }
        *self = Self {
            open,
            from,
            first,
            ended,
            skipped,
            copied,
            bases: std::mem::take(&mut self.bases),
            ..Self::default()
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: u64 = 1_800_000_000_000;
    /// More than there are in a millisecond.
    const FLUSHES: u64 = EPOCHS_PER_MS / 2;

    /// A run that knows nothing of others but the last epoch.
    fn begin(last: u64, now_ms: u64) -> u64 {
        Runs::default()
            .begin(Epoch(last), now_ms, BTreeSet::new())
            .0
    }

    #[test]
    fn runs_of_one_copy_share_no_epoch_if_a_millisecond_lies_between() {
        for round in 0..1000 {
            let (one, other) = (begin(7, NOON_MS + round), begin(7, NOON_MS + round + 1));
            assert!(one + FLUSHES <= other, "{one} and {other}");
        }
    }

    #[test]
    fn a_clock_that_stepped_back_an_hour_gives_no_epoch_again() {
        let last = begin(0, NOON_MS) + FLUSHES;
        let back = NOON_MS - 3_600_000;
        // Neither one that the journal has, nor one of another run that went on from there likewise.
        let (one, other) = (begin(last, back), begin(last, back));
        assert!(one > last && other > last);
        assert!(one.abs_diff(other) > 1, "by chance once in some 10^9 times");
        // Nor once the clock is right again, or an hour further.
        let later = begin(one, NOON_MS + 3_600_000);
        assert_eq!(later / EPOCHS_PER_MS, NOON_MS + 3_600_000);
        assert!(begin(later, NOON_MS) > later);
    }

    #[test]
    fn epochs_that_one_peer_names_after_another_take_one_stretch() {
        let mut runs = Runs::default();
        let peers = BTreeSet::from(["west".parse().unwrap()]);
        let mut last = runs.begin(Epoch(0), NOON_MS, peers);
        let first = last.next();
        for _ in 0..10 * RUNS_MAX {
            let lost = Epoch(last.0 + 1000);
            runs.go_beyond(last, lost);
            last = lost;
        }
        assert_eq!(runs.skipped, [(first, last)]);
        assert!(runs.lost(last.0) && !runs.lost(last.0 + 1));
    }
}
