//! What clients do to counters and hashes of counters.

use super::counter::flag;
use super::keyspace::CounterRef;
use super::recent::Feed;
use super::state::{Kind, OpError, State};

/// When `SET` is to do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SetIf {
    #[default]
    Always,
    Absent,
    Present,
}

/// What `SET` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetOutcome {
    pub(crate) old: Option<i64>,
    pub(crate) done: bool,
}

impl State {
    /// `GET`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<i64>, OpError> {
        let Some(place) = self.keys.find(key) else {
            return Ok(None);
        };
        match self.kind_at(place) {
            None => Ok(None),
            Some(Kind::Counter) => Ok(Some(self.keys.sum(CounterRef::key(place)))),
            Some(Kind::Hash | Kind::Log(_)) => Err(OpError::WrongType),
        }
    }

    /// `INCRBY`.
    pub(crate) fn add(&mut self, key: &[u8], by: i64) -> Result<i64, OpError> {
        self.check_writable(Feed::Counters)?;
        self.expire_if_due(key);
        let place = self.keys.find_or_create(key).ok_or(OpError::NameTooLong)?;
        let at = CounterRef::key(place);
        if !self.keys.names.at(place).has(flag::PRESENT) && self.kind_at(place).is_some() {
            return Err(OpError::WrongType);
        }
        self.add_at(at, by)
    }

    /// `HINCRBY`.
    pub(crate) fn add_field(&mut self, key: &[u8], field: &[u8], by: i64) -> Result<i64, OpError> {
        self.check_writable(Feed::Counters)?;
        self.expire_if_due(key);
        let place = self.keys.find_or_create(key).ok_or(OpError::NameTooLong)?;
        match self.kind_at(place) {
            None | Some(Kind::Hash) => {}
            Some(Kind::Counter | Kind::Log(_)) => return Err(OpError::WrongType),
        }
        let field = self.keys.find_or_create_field(place, field);
        let field = field.ok_or(OpError::NameTooLong)?;
        self.add_at(CounterRef::field(place, field), by)
    }

    /// `HSET` of one field: whether it was not there before.
    pub(crate) fn set_field(
        &mut self,
        key: &[u8],
        field: &[u8],
        value: i64,
    ) -> Result<bool, OpError> {
        self.check_writable(Feed::Counters)?;
        let place = self.keys.find_or_create(key).ok_or(OpError::NameTooLong)?;
        match self.kind_at(place) {
            None | Some(Kind::Hash) => {}
            Some(Kind::Counter | Kind::Log(_)) => return Err(OpError::WrongType),
        }
        let field = self.keys.find_or_create_field(place, field);
        let at = CounterRef::field(place, field.ok_or(OpError::NameTooLong)?);
        let new = !self.keys.counter(at).has(flag::PRESENT);
        self.assign(at, value, true);
        Ok(new)
    }

    fn add_at(&mut self, at: CounterRef, by: i64) -> Result<i64, OpError> {
        let present = self.keys.counter(at).has(flag::PRESENT);
        let value = if present { self.keys.sum(at) } else { 0 };
        let new = value.checked_add(by).ok_or(OpError::Overflow)?;
        if !present {
            // What others counted in a life of it that is over.
            self.clear(at, false);
        }
        self.mark_counter(at);
        let counter = self.keys.counter_mut(at);
        counter.own.sum = counter.own.sum.wrapping_add(by);
        if !present {
            self.set_present(at, true);
        }
        self.tally.writes[Feed::Counters as usize] += 1;
        Ok(new)
    }

    /// Lists a counter, whose component is about to change, for the next flush.
    pub(super) fn mark_counter(&mut self, at: CounterRef) {
        self.touched(at.name);
        let counter = self.keys.counter_mut(at);
        // Also of one that was hidden with its hash: it is dirty and has not changed.
        self.runs.keep(at, counter.own);
        counter.set(flag::ENDS, false);
        if !counter.has(flag::DIRTY) {
            counter.set(flag::DIRTY, true);
            self.dirty.push(at);
            self.unwritten.note_change();
        }
    }

    /// Lists a counter of which our component is to be written anew: presence stays as it was.
    pub(super) fn mark_quietly(&mut self, at: CounterRef) {
        let counter = self.keys.counter(at);
        let is_loud = counter.has(flag::DIRTY) && !counter.has(flag::ENDS);
        self.mark_counter(at);
        self.keys.counter_mut(at).set(flag::ENDS, !is_loud);
    }

    /// `SET`. Whatever else stands behind the name goes; its deadline stays.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: i64,
        when: SetIf,
        get: bool,
    ) -> Result<SetOutcome, OpError> {
        self.check_writable(Feed::Counters)?;
        self.expire_if_due(key);
        let kind = self.kind(key);
        if get && matches!(kind, Some(Kind::Hash | Kind::Log(_))) {
            return Err(OpError::WrongType);
        }
        let old = if kind == Some(Kind::Counter) {
            self.get(key)?
        } else {
            None
        };
        let done = match when {
            SetIf::Always => true,
            SetIf::Absent => kind.is_none(),
            SetIf::Present => kind.is_some(),
        };
        if done {
            self.clear_hash_and_log(key)?;
            let place = self.keys.find_or_create(key).ok_or(OpError::NameTooLong)?;
            self.assign(CounterRef::key(place), value, true);
        }
        Ok(SetOutcome { old, done })
    }

    /// `DEL` of one key: whether it was there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool, OpError> {
        self.check_not_refused()?;
        self.expire_if_due(key);
        let Some(place) = self.keys.find(key) else {
            return Ok(false);
        };
        if self.kind_at(place).is_none() {
            return Ok(false);
        }
        self.clear_hash_and_log(key)?;
        self.clear_counter(place);
        self.put_deadline(place, 0);
        Ok(true)
    }

    /// Deleting is allowed above the memory cap, but not when the journal has failed.
    pub(super) fn check_not_refused(&self) -> Result<(), OpError> {
        match &self.refused {
            Some(reason) => Err(OpError::Refused(reason.clone())),
            None => Ok(()),
        }
    }

    fn clear_hash_and_log(&mut self, key: &[u8]) -> Result<(), OpError> {
        let Some(place) = self.keys.find(key) else {
            return Ok(());
        };
        let log = self.logs_by_name.get(&place).copied();
        if let Some(id) = log.filter(|id| self.logs[id.0].exists()) {
            self.check_own_log(id)?;
            self.with_log(id, |log| log.delete());
        }
        self.clear_fields(place);
        Ok(())
    }

    /// Deletes the counter at `place`, if clients see it.
    pub(super) fn clear_counter(&mut self, place: u32) {
        let at = CounterRef::key(place);
        if self.keys.counter(at).has(flag::PRESENT) {
            self.assign(at, 0, false);
        }
    }

    /// Deletes all fields of the hash at `place`: at once for clients, while the work that each
    /// field is, is left to the flush, which gives the lock back in between.
    /// Returns how many they were.
    pub(super) fn clear_fields(&mut self, place: u32) -> u64 {
        let hidden = self.keys.hide_fields(place, &mut self.dirty);
        if hidden > 0 {
            self.tally.writes[Feed::Counters as usize] += hidden;
            self.unwritten.note_change();
            self.touched(place);
            self.recount(place);
        }
        hidden
    }

    /// Clears the counter as [`Keyspace::clear`](super::keyspace::Keyspace::clear) does. Our component may change with that.
    pub(super) fn clear(&mut self, at: CounterRef, end: bool) {
        self.runs.keep(at, self.keys.counter(at).own);
        self.keys.clear(at, end);
    }

    /// Clears the counter if it has been deleted with its hash and that is still to be done.
    pub(super) fn clear_if_due(&mut self, at: CounterRef) {
        if self.keys.counter(at).has(flag::TO_CLEAR) {
            self.clear(at, true);
        }
    }

    /// Makes a counter's value `value` as far as this site can see.
    fn assign(&mut self, at: CounterRef, value: i64, present: bool) {
        self.clear(at, !present);
        self.mark_counter(at);
        let counter = self.keys.counter_mut(at);
        counter.own.sum = counter.own.sum.wrapping_add(value);
        self.set_present(at, present);
        self.tally.writes[Feed::Counters as usize] += 1;
    }

    /// Shows or hides a counter.
    pub(super) fn set_present(&mut self, at: CounterRef, present: bool) {
        let counter = self.keys.counter_mut(at);
        if counter.has(flag::PRESENT) == present {
            return;
        }
        counter.set(flag::PRESENT, present);
        if !present {
            self.keys.silence(at);
        }
        if at.is_field() {
            let step = |count: u64| if present { count + 1 } else { count - 1 };
            self.keys.fields_live = step(self.keys.fields_live);
            if let Some(hash) = self.keys.hashes.get_mut(&at.name) {
                hash.live = step(hash.live);
            }
        }
        self.recount(at.name);
    }

    /// `HDEL` of one field: whether it was there.
    pub(crate) fn delete_field(&mut self, key: &[u8], field: &[u8]) -> Result<bool, OpError> {
        self.check_not_refused()?;
        self.expire_if_due(key);
        let Some(place) = self.hash_place(key)? else {
            return Ok(false);
        };
        let at = self.keys.find_field(place, field);
        let at = at.map(|field| CounterRef::field(place, field));
        let Some(at) = at.filter(|at| self.keys.counter(*at).has(flag::PRESENT)) else {
            return Ok(false);
        };
        self.assign(at, 0, false);
        if self.kind_at(place).is_none() {
            self.put_deadline(place, 0);
        }
        Ok(true)
    }

    /// `HGET`.
    pub(crate) fn get_field(&self, key: &[u8], field: &[u8]) -> Result<Option<i64>, OpError> {
        let Some(place) = self.hash_place(key)? else {
            return Ok(None);
        };
        let at = self
            .keys
            .find_field(place, field)
            .map(|field| CounterRef::field(place, field));
        let seen = at.filter(|at| self.keys.counter(*at).has(flag::PRESENT));
        Ok(seen.map(|at| self.keys.sum(at)))
    }

    /// `HLEN`.
    pub(crate) fn fields_len(&self, key: &[u8]) -> Result<u64, OpError> {
        let hash = self
            .hash_place(key)?
            .and_then(|place| self.keys.hashes.get(&place));
        Ok(hash.map_or(0, |hash| hash.live))
    }

    /// Visible fields of a hash from place `from` on, at most `visits` places further: calls
    /// `found` with each, returns where to go on, none at the end.
    pub(crate) fn fields(
        &self,
        key: &[u8],
        from: u64,
        visits: u64,
        mut found: impl FnMut(&[u8], i64),
    ) -> Result<Option<u64>, OpError> {
        let Some(place) = self.hash_place(key)? else {
            return Ok(None);
        };
        let Some(hash) = self.keys.hashes.get(&place) else {
            return Ok(None);
        };
        let len = hash.fields.len() as u64;
        let end = from.saturating_add(visits).min(len);
        for field in from..end {
            let Ok(field) = u32::try_from(field) else {
                break;
            };
            let counter = hash.fields.at(field);
            if counter.has(flag::PRESENT) {
                let sum = self.keys.sum_of(counter, CounterRef::field(place, field));
                found(self.keys.text(counter.name), sum);
            }
        }
        Ok((end < len).then_some(end))
    }

    /// The place of a hash; none when there is nothing.
    fn hash_place(&self, key: &[u8]) -> Result<Option<u32>, OpError> {
        let Some(place) = self.keys.find(key) else {
            return Ok(None);
        };
        match self.kind_at(place) {
            None => Ok(None),
            Some(Kind::Hash) => Ok(Some(place)),
            Some(Kind::Counter | Kind::Log(_)) => Err(OpError::WrongType),
        }
    }

    /// Places that [`State::scan`] goes over, those of names that nobody sees any more included.
    pub(crate) fn places(&self) -> u64 {
        self.keys.names.len() as u64
    }

    /// Visible names from place `from` on, at most `visits` places further: calls `found` with
    /// each, returns where to go on, none at the end. Names never move, so one that is there
    /// throughout is found exactly once.
    pub(crate) fn scan(
        &self,
        from: u64,
        visits: u64,
        mut found: impl FnMut(&[u8], Kind),
    ) -> Option<u64> {
        let len = self.keys.names.len() as u64;
        let end = from.saturating_add(visits).min(len);
        for place in from..end {
            let Ok(place) = u32::try_from(place) else {
                break;
            };
            if let Some(kind) = self.kind_at(place) {
                found(self.keys.text(self.keys.names.at(place).name), kind);
            }
        }
        (end < len).then_some(end)
    }
}
