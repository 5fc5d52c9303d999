//! Sites and the links between them, a step at a time: what [`replicate`](crate::replicate) does.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::clock::simulated;
use super::super::super::counter::flag;
use super::super::super::forget::{Rule, broken};
use super::super::*;
use super::acts::Act;
use super::link::{Batch, Link, Way, catch_up, flushes_after};
use super::site::{Site, copy_files, key, new_dir};

/// All sites.
pub(super) struct World {
    pub(super) sites: Vec<Site>,
    pub(super) links: Vec<Link>,
    /// The rule that does not hold in this world.
    broken: Option<Rule>,
}

impl World {
    pub(super) fn new(shape: &[(usize, usize)], broken: Option<Rule>) -> Self {
        broken::set(broken);
        let names = ["east", "west", "north", "south"];
        let count = shape.iter().map(|(_, to)| to + 1).max().unwrap();
        let both: Vec<_> = shape
            .iter()
            .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
            .collect();
        let peers = |site: usize| {
            let peers = both.iter().filter(|(from, _)| *from == site);
            peers.map(|(_, to)| names[*to].parse().unwrap()).collect()
        };
        let sites = (0..count).map(|site| Site::new(names[site], peers(site)));
        let links = both.iter().map(|(from, to)| Link {
            from: *from,
            to: *to,
            up: false,
            way: Way::default(),
        });
        Self {
            sites: sites.collect(),
            links: links.collect(),
            broken,
        }
    }

    fn linked(&self, site: usize, but: usize) -> BTreeSet<SiteName> {
        let ups = self
            .links
            .iter()
            .filter(|link| link.up && link.to == site && link.from != but);
        ups.map(|link| self.sites[link.from].name().clone())
            .collect()
    }

    pub(super) fn set_up(&mut self, place: usize, up: bool) {
        let pair = BTreeSet::from([self.links[place].from, self.links[place].to]);
        if self.links[place].up == up {
            return;
        }
        for place in 0..self.links.len() {
            let link = &mut self.links[place];
            if BTreeSet::from([link.from, link.to]) == pair {
                link.up = up;
                self.begin(place);
            } else if pair.contains(&link.to) && !up {
                // What the link that is gone would have carried comes over the others.
                self.ask(place);
            }
        }
    }

    /// A session begins.
    fn begin(&mut self, place: usize) {
        let link = &mut self.links[place];
        let (from, to) = (&self.sites[link.from], &self.sites[link.to]);
        to.grid.abandon_sweep(from.name());
        link.way = Way::default();
        if link.up {
            to.flush();
            from.flush();
            link.way.have = Some(to.grid.positions_for(from.name(), Feed::Counters));
            let positions = from.grid.positions_for(to.name(), Feed::Counters);
            link.way.under_way.push_back(Batch {
                positions: Some(positions),
                ..Batch::default()
            });
        }
    }

    /// The sender says anew what it holds.
    fn tell_positions(&mut self, (from, to): (usize, usize)) {
        let mut links = self.links.iter_mut();
        let Some(link) = links.find(|link| (link.from, link.to) == (from, to) && link.up) else {
            return;
        };
        let (from, to) = (&self.sites[from], &self.sites[to]);
        from.flush();
        let positions = from.grid.positions_for(to.name(), Feed::Counters);
        link.way.under_way.push_back(Batch {
            positions: Some(positions),
            ..Batch::default()
        });
    }

    /// The receiver says anew what it holds.
    fn ask(&mut self, place: usize) {
        let link = &mut self.links[place];
        if link.up {
            let (from, to) = (&self.sites[link.from], &self.sites[link.to]);
            to.flush();
            link.way.have = Some(to.grid.positions_for(from.name(), Feed::Counters));
            link.way.shipped = None;
        }
    }

    fn begin_all(&mut self, site: usize) {
        for place in 0..self.links.len() {
            if self.links[place].from == site || self.links[place].to == site {
                self.begin(place);
            }
        }
    }

    /// Sends what is new as one batch.
    fn ship(&mut self, place: usize, says: bool) {
        let (from, to, up) = {
            let link = &self.links[place];
            (link.from, link.to, link.up)
        };
        if !up {
            return;
        }
        let linked = self.linked(to, from);
        let mut links = self.links.iter();
        let back = links.find(|back| (back.from, back.to) == (to, from));
        let is_heard = back.unwrap().way.caught_up;
        let (from, to) = (&self.sites[from], &self.sites[to]);
        let way = &mut self.links[place].way;
        let mut batch = Batch::default();
        if let Some(mut have) = way.have.take() {
            if from.grid.lacks_own(&have) {
                if !is_heard {
                    way.have = Some(have);
                    return way.under_way.push_back(batch);
                }
                have = to.grid.positions_for(from.name(), Feed::Counters);
            }
            catch_up(from, way, &have, &mut batch);
        } else if let Some(shipped) = way.shipped {
            match flushes_after(&from.grid, shipped) {
                None => {
                    way.under_way.push_back(batch);
                    return self.ask(place);
                }
                Some(flushes) => {
                    let mut records = from.grid.fold(&flushes);
                    for relayed in flushes.iter().flat_map(|flushed| &flushed.relayed) {
                        records.extend(from.grid.relay(relayed, to.name(), &linked));
                    }
                    way.shipped = flushes.last().map_or(way.shipped, |last| Some(last.number));
                    let packed = records
                        .iter()
                        .map(|record| from.grid.pack(&mut way.sent, record));
                    batch.records = packed.collect();
                }
            }
            if says {
                // Behind all flushes that there are.
                batch.said = from.grid.statements(to.name()).1;
            }
        }
        way.under_way.push_back(batch);
    }

    /// The oldest batches arrive.
    fn deliver(&mut self, place: usize, count: usize) {
        for _ in 0..count {
            let link = &mut self.links[place];
            let (from, to) = (&self.sites[link.from], &self.sites[link.to]);
            let Some(batch) = link.way.under_way.pop_front() else {
                return;
            };
            if let Some(positions) = batch.positions {
                let was_behind = to.grid.is_behind(from.name());
                let is_behind = to.grid.hear_positions(from.name(), &positions);
                if was_behind && !is_behind {
                    link.way.in_doubt = true;
                    self.ask(place);
                }
                continue;
            }
            link.way.in_doubt &= !batch.begins;
            if batch.whole.is_some() {
                to.grid.begin_sweep(from.name());
            }
            if to.grid.is_behind(from.name()) {
                link.way.in_doubt = true;
            }
            if link.way.in_doubt {
                continue;
            }
            let mut is_lost = false;
            for record in batch.records {
                match to.grid.unpack(&mut link.way.heard, record) {
                    Ok(records) => {
                        for record in records {
                            to.grid.apply(from.name(), record).unwrap();
                        }
                    }
                    Err(UnpackError::Forgotten | UnpackError::Lost) => is_lost = true,
                    Err(error) => panic!("{error}"),
                }
            }
            if is_lost {
                link.way.in_doubt = true;
                to.grid.abandon_sweep(from.name());
                self.ask(place);
                continue;
            }
            let mut lacks = false;
            for said in batch.said {
                let said = Statement::decode(&said.encode()).unwrap();
                lacks |= to.grid.hear_statement(from.name(), said);
            }
            let is_whole = batch.whole.is_some();
            if let Some((forgotten, records)) = batch.whole {
                to.grid.end_sweep(from.name(), &forgotten).unwrap();
                for record in records {
                    to.grid.apply(from.name(), record).unwrap();
                }
            }
            if batch.caught_up {
                to.grid.heard(from.name(), Feed::Counters);
                link.way.caught_up = true;
            }
            if lacks {
                self.ask(place);
            }
            let link = &self.links[place];
            if is_whole {
                let back = (link.to, link.from);
                self.tell_positions(back);
            }
        }
    }

    /// Two sites compare all that they hold, and find nothing lost.
    fn compare(&mut self, place: usize) {
        let link = &self.links[place];
        if !link.up {
            return;
        }
        let sites = [link.from, link.to].map(|site| &self.sites[site]);
        for site in sites {
            site.flush();
        }
        let begin = |at: usize| {
            let peer = sites[1 - at].name();
            sites[at].grid.begin_comparison(peer, Scope::Living)
        };
        let begun = [begin(0), begin(1)];
        let [here, there] = sites.map(|site| site.grid.fingerprints(Scope::Living));
        let differs = |range: &u16| here.0[usize::from(*range)] != there.0[usize::from(*range)];
        let differing: Vec<u16> = (0..=u16::MAX).filter(differs).collect();
        for (from, to, begun) in [(0, 1, begun[1]), (1, 0, begun[0])] {
            let mut scan = RangeScan::new(differing.iter().copied().collect());
            while let Some(record) = sites[from].grid.next_of_ranges(&mut scan, usize::MAX) {
                let to = &sites[to].grid;
                let (_, found) = to
                    .apply_compared(sites[from].name(), record, begun)
                    .unwrap();
                // A directory that was put back has lost something.
                let is_open = sites.iter().any(|site| site.grid.lock().runs.is_open());
                assert!(is_open || found.is_empty(), "nothing was lost: {found:?}");
            }
        }
        sites[0].grid.end_comparison(sites[1].name());
        sites[1].grid.end_comparison(sites[0].name());
    }
}

impl World {
    /// From here on this world is simulated.
    fn begin_at(&self, now_ms: u64) {
        simulated::set(Some(now_ms));
        broken::set(self.broken);
    }

    /// Does what happens at a step.
    pub(super) fn act(&mut self, act: &Act, now_ms: u64) {
        self.begin_at(now_ms);
        match act {
            Act::Add(site, k, by) => drop(self.sites[*site].grid.lock().add(&key(*k), *by)),
            Act::AddField(site, k, field, by) => {
                let mut state = self.sites[*site].grid.lock();
                drop(state.add_field(&key(*k), &[b'0' + field], *by));
            }
            Act::Set(site, k, to) => {
                let mut state = self.sites[*site].grid.lock();
                drop(state.set(&key(*k), *to, SetIf::Always, false));
            }
            Act::Delete(site, k) => drop(self.sites[*site].grid.lock().delete(&key(*k))),
            Act::DeleteField(site, k, field) => {
                let mut state = self.sites[*site].grid.lock();
                drop(state.delete_field(&key(*k), &[b'0' + field]));
            }
            Act::Expire(site, k, after) => {
                let mut state = self.sites[*site].grid.lock();
                drop(state.set_deadline(&key(*k), now_ms + after));
            }
            Act::Clock(site) => while self.sites[*site].grid.lock().expire_some(now_ms) {},
            Act::Flush(site) => self.sites[*site].flush(),
            Act::Ship(link, says) => self.ship(*link, *says),
            Act::Deliver(link, count) => self.deliver(*link, *count),
            Act::Up(link, up) => self.set_up(*link, *up),
            Act::Crash(site) => {
                self.sites[*site].reopen();
                self.begin_all(*site);
            }
            Act::Lose(site) => {
                let site_lost = &mut self.sites[*site];
                site_lost.dir = new_dir();
                site_lost.copy = None;
                site_lost.config.incarnation += 1;
                site_lost.reopen();
                self.begin_all(*site);
            }
            Act::Copy(site) => {
                let site = &mut self.sites[*site];
                site.copy = Some(copy_files(site.dir.path()));
            }
            Act::PutBack(site) => {
                if let Some(copy) = self.sites[*site].copy.take() {
                    self.sites[*site].dir = copy;
                    self.sites[*site].reopen();
                    self.begin_all(*site);
                }
            }
            Act::Rewrite(site) => {
                let grid = &self.sites[*site].grid;
                grid.flush().unwrap();
                grid.begin_rewrite_now();
                grid.flush().unwrap();
                grid.flush().unwrap();
            }
            Act::Forget(site) => self.sites[*site].grid.forget(),
            Act::Compare(link) => self.compare(*link),
            Act::Rounds(count) => (0..*count).for_each(|_| self.go_round(now_ms)),
        }
    }

    /// Everything works: until all is said.
    pub(super) fn settle(&mut self, now_ms: u64) {
        self.begin_at(now_ms);
        for place in 0..self.links.len() {
            self.set_up(place, true);
        }
        self.come_to_rest(now_ms);
        // What a directory that was lost had sent in part comes to all.
        for place in 0..self.links.len() {
            self.compare(place);
        }
        self.come_to_rest(now_ms);
    }

    fn come_to_rest(&mut self, now_ms: u64) {
        let mut round = 0;
        let forgets = self.broken != Some(Rule::Forgets);
        while round < 12 || (forgets && round < 80 && !self.left().is_empty()) {
            for site in &self.sites {
                // Sites write on: what was promised of their last flush may have been lost with a link.
                drop(site.grid.lock().add(b"ticks", 1));
            }
            self.go_round(now_ms);
            round += 1;
        }
        (0..6).for_each(|_| self.go_round(now_ms));
    }

    fn go_round(&mut self, now_ms: u64) {
        for site in &self.sites {
            while site.grid.lock().expire_some(now_ms) {}
            site.flush();
        }
        for place in 0..self.links.len() {
            self.ship(place, true);
            self.deliver(place, usize::MAX);
        }
        for site in 0..self.sites.len() {
            self.sites[site].flush();
            self.sites[site].grid.forget();
        }
    }
}

impl World {
    pub(super) fn seen(&self) -> Vec<BTreeMap<Vec<u8>, Option<(i64, i64)>>> {
        self.sites.iter().map(Site::seen).collect()
    }

    /// Whether a site has still to take away what was deleted while it was away: what it shows meanwhile, and what it
    /// is told, comes a round trip later than in a world in which nothing is to be taken away.
    pub(super) fn sweeps(&self) -> bool {
        self.sites.iter().any(|site| {
            let state = site.grid.lock();
            let mut others = self.sites.iter().map(Site::name);
            let is_behind = others.any(|peer| state.forgetting.is_behind(peer));
            is_behind || !state.sweeps.is_empty()
        })
    }

    /// All that is held.
    pub(super) fn held(&self) -> Vec<String> {
        let mut held = Vec::new();
        for site in &self.sites {
            let state = site.grid.lock();
            let mut at = None;
            while let Some(next) = state.keys.following(at) {
                at = Some(next);
                let (counter, extra) = (state.keys.counter(next), state.keys.extra(next));
                let key = String::from_utf8_lossy(state.keys.key_of(next).0).into_owned();
                if state.counter_item(next, Scope::Living).is_some() {
                    held.push(format!("{} {key}: {counter:?} {extra:?}", site.name()));
                }
            }
            held.push(format!("{:?}", state.origins));
        }
        held
    }

    /// Names that are kept though clients do not see them. Some are for good: what a directory that was lost had
    /// sent in part, nobody holds all of.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let now: Vec<_> = self.sites.iter().map(|site| site.grid.origin()).collect();
        for site in &self.sites {
            let mut state = site.grid.lock();
            let (stable, _) = state.find_stable();
            if !stable.is_known {
                left.push(format!("{}: not all are heard", site.name()));
                continue;
            };
            let mut at = None;
            let mut names = BTreeMap::<u32, Vec<_>>::new();
            while let Some(next) = state.keys.following(at) {
                at = Some(next);
                names.entry(next.name).or_default().push(next);
            }
            for (place, counters) in names {
                let name = state.keys.names.at(place);
                let versions = counters.iter().flat_map(|at| state.keys.versions(*at));
                let is_cut = versions.into_iter().any(|(origin, version)| {
                    !now.contains(state.origins.origin(origin)) && !stable.covers(origin, version)
                });
                if !name.has(flag::VISIBLE) && !name.is_given_back() && !is_cut {
                    let shown = counters.iter().map(|at| {
                        let (counter, extra) = (state.keys.counter(*at), state.keys.extra(*at));
                        format!("{counter:?} {extra:?}\n")
                    });
                    let shown: String = shown.collect();
                    left.push(format!("{}: {shown} {stable:?}", site.name()));
                }
            }
        }
        left
    }
}
