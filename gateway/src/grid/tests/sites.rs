//! Three and four sites in one thread: links that come and go, crashes, full disks, clocks that
//! step, logs that go to the disk. Whatever happens, all sites end up with what the model says, and with the same digest.
//!
//! A failure names its seed; `STRAIT_SIM_SEEDS=N` runs so many, `STRAIT_SIM_SEED=N` that one.

use std::collections::{BTreeSet, VecDeque};

use super::*;

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub(super) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// What one site's clients did: how much is on its disk for certain, how much may be.
#[derive(Default)]
struct Model {
    durable: i64,
    possible: i64,
    lines_durable: usize,
    lines: Vec<EntryId>,
    /// Every id that a client was told, also of what a crash took back.
    given: BTreeSet<EntryId>,
    /// The clock was set, and no entry on disk shows how far it was ahead: the case that docs/STORE.md
    /// leaves.
    jumped: bool,
}

/// No entry is longer in memory alone, by a site's clock.
const WINDOW: Duration = Duration::from_secs(2);

struct Site {
    config: GridConfig,
    grid: Arc<Grid>,
    model: Model,
    clock_ms: u64,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new(name: &str) -> Self {
        // Where there is one, a folder in memory: its fsyncs cost nothing.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let config = GridConfig {
            cold: Some(cold::ALL),
            ..config(name, Some(dir.path().to_owned()))
        };
        Self {
            grid: Arc::new(Grid::open(config.clone()).unwrap().0),
            config,
            model: Model::default(),
            clock_ms: 10_000_000,
            _dir: dir,
        }
    }

    fn name(&self) -> &SiteName {
        &self.config.site
    }

    fn key(&self) -> Vec<u8> {
        format!("hits:{}", self.name()).into_bytes()
    }

    fn write(&mut self) {
        self.clock_ms += 7;
        let mut state = self.grid.lock();
        if state.add(&self.key(), 1).is_ok() {
            self.model.possible += 1;
        }
        drop(state.add(b"shared", 1));
        let value = self.model.lines.len() as u8;
        // Two of them fill a block, so that there is something to spill.
        let line = pack_values([&b"f"[..], &[value; 9000]].into_iter());
        let id = state.append(b"log", NewId::Auto, &line, (true, None), self.clock_ms);
        if let Ok(Some(id)) = id {
            let last = self.model.lines.last();
            assert!(last.is_none_or(|last| *last < id), "ids go back");
            assert!(self.model.given.insert(id), "{id} is given twice");
            self.model.lines.push(id);
        }
    }

    fn flush(&mut self) {
        if self.grid.flush().is_ok() {
            self.model.durable = self.model.possible;
            let written = self.model.lines.len() > self.model.lines_durable;
            self.model.lines_durable = self.model.lines.len();
            self.model.jumped &= !written;
        }
    }

    /// An hour back, or forth.
    fn step_clock(&mut self, back: bool) {
        if back {
            // What is lost and later than all that is on disk is what docs/STORE.md leaves.
            self.flush();
            self.model.jumped |= self.model.lines_durable < self.model.lines.len();
            let last = self.model.lines.last().copied();
            self.model.given.retain(|id| Some(*id) <= last);
            self.clock_ms = self.clock_ms.saturating_sub(3_600_000);
            return;
        }
        // What was written by the clock as it was shows nothing of how it is.
        self.flush();
        self.clock_ms += 3_600_000;
        self.model.jumped = true;
        self.write();
        self.flush();
    }

    /// Ends without warning and starts again: what was not on disk is gone.
    fn crash(&mut self) {
        self.grid = Arc::new(Grid::open(self.config.clone()).unwrap().0);
        self.grid.lock().resume_ids(self.clock_ms, WINDOW);
        let found = self.grid.lock().get(&self.key()).unwrap().unwrap_or(0);
        let possible = self.model.durable..=self.model.possible;
        assert!(possible.contains(&found), "{found} of {possible:?} found");
        (self.model.durable, self.model.possible) = (found, found);
        let lines = lines(&self.grid, b"log");
        assert!(lines.len() >= self.model.lines_durable, "entries are gone");
        assert!(
            self.model.lines.starts_with(&lines),
            "other entries than before"
        );
        if std::mem::take(&mut self.model.jumped) {
            let lost = self.model.lines.split_off(lines.len());
            self.model.given.retain(|id| !lost.contains(id));
        }
        self.model.lines_durable = lines.len();
        self.model.lines = lines;
    }

    fn break_disk(&mut self, broken: bool) {
        self.grid.writer.lock().break_disk(broken);
        if let Some(cold) = self.grid.cold.lock().as_mut() {
            cold.break_disk(broken);
        }
    }
}

fn own_log(site: &SiteName) -> LogName {
    LogName {
        site: site.clone(),
        name: b"log"[..].into(),
    }
}

fn lines(grid: &Grid, key: &[u8]) -> Vec<EntryId> {
    let mut lines = Vec::new();
    let kind = grid.lock().kind(key);
    if let Some(Kind::Log(log)) = kind {
        let found = |id, _: &[u8]| {
            lines.push(id);
            true
        };
        grid.read_log(log, IdRange::ALL, found).unwrap();
    }
    lines
}

/// One direction of a link: what [`replicate`](crate::replicate) does, a step at a time.
struct Link {
    from: usize,
    to: usize,
    up: bool,
    linked: BTreeSet<SiteName>,
    /// By [`Feed`].
    feeds: [Way; 2],
}

impl Link {
    /// What is under way arrives; then what the other end lacks has to be sent anew.
    fn ask(&mut self) {
        for way in &mut self.feeds {
            way.shipped = None;
        }
    }

    fn begin_anew(&mut self) {
        self.feeds = Default::default();
    }
}

/// One feed of a link.
#[derive(Default)]
struct Way {
    /// None: it has to catch up.
    shipped: Option<FlushNumber>,
    under_way: VecDeque<Bytes>,
}

fn scan_counters(from: &Arc<Grid>, have: &Positions) -> Option<(Vec<Bytes>, FlushNumber)> {
    let (mut scan, mut records) = (from.scan_counters(have), Vec::new());
    while let Some(record) = scan.next(usize::MAX).ok()? {
        records.push(record);
    }
    Some((records, scan.complete_to().0))
}

fn scan_logs(from: &Grid, have: &Positions) -> (Vec<Bytes>, FlushNumber) {
    let ((flush, _), mut records) = (from.flushed_to(), Vec::new());
    for (log, until) in from.logs() {
        let mut held = have.log(&log);
        while !held.covers(&until) {
            let Some((record, reached)) = from.log_after(&log, held, 200) else {
                break;
            };
            records.push(record);
            held = reached;
        }
    }
    (records, flush)
}

/// How sites are joined: each with each, a hub, a ring, a chain.
pub(super) const SHAPES: [&[(usize, usize)]; 4] = [
    &[(0, 1), (0, 2), (1, 2)],
    &[(0, 1), (0, 2)],
    &[(0, 1), (0, 2), (1, 3), (2, 3)],
    &[(0, 1), (1, 2), (2, 3)],
];

struct World {
    random: Random,
    sites: Vec<Site>,
    links: Vec<Link>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shape = SHAPES[random.below(SHAPES.len())];
        let count = shape.iter().map(|(_, to)| to + 1).max().unwrap();
        let names = ["east", "west", "north", "south"];
        let both = shape.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
        let links = both.map(|(from, to)| Link {
            from,
            to,
            up: false,
            linked: BTreeSet::new(),
            feeds: Default::default(),
        });
        Self {
            random,
            sites: names[..count].iter().map(|name| Site::new(name)).collect(),
            links: links.collect(),
        }
    }

    /// Sets both directions between two sites up or down.
    fn set_up(&mut self, place: usize, up: bool) {
        let pair = BTreeSet::from([self.links[place].from, self.links[place].to]);
        for link in &mut self.links {
            if BTreeSet::from([link.from, link.to]) == pair && link.up != up {
                link.up = up;
                link.begin_anew();
            }
        }
        self.tell_neighbours();
    }

    /// Each site says to whom it has links; one that lost a link asks for what it would have
    /// carried.
    fn tell_neighbours(&mut self) {
        let ups: Vec<_> = self.links.iter().filter(|link| link.up).collect();
        let known = |site: usize, but: usize| -> BTreeSet<SiteName> {
            let froms = ups
                .iter()
                .filter(|link| link.to == site && link.from != but);
            froms
                .map(|link| self.sites[link.from].name().clone())
                .collect()
        };
        let told: Vec<_> = self
            .links
            .iter()
            .map(|link| known(link.to, link.from))
            .collect();
        for (link, told) in self.links.iter_mut().zip(told) {
            if !link.linked.is_subset(&told) {
                link.ask();
            }
            link.linked = told;
        }
    }

    /// Hands over what is durable at the sender.
    fn ship(&mut self, place: usize, feed: Feed) {
        let link = &mut self.links[place];
        if !link.up {
            return;
        }
        let way = &mut link.feeds[feed as usize];
        let (from, to) = (&self.sites[link.from], &self.sites[link.to]);
        let durable = *from.grid.subscribe_flushes().borrow();
        let Some(mut shipped) = way.shipped else {
            let have = to.grid.positions(feed);
            let caught_up = match feed {
                Feed::Counters => scan_counters(&from.grid, &have),
                Feed::Logs => Some(scan_logs(&from.grid, &have)),
            };
            // None: a full disk. Later.
            if let Some((records, flush)) = caught_up {
                way.under_way.extend(records);
                way.shipped = Some(flush);
            }
            return;
        };
        while shipped < durable {
            let Some(flushed) = from.grid.flushed(feed, shipped.next()) else {
                way.shipped = None;
                return;
            };
            shipped = shipped.next();
            way.under_way.extend(flushed.records.iter().cloned());
            for relayed in &flushed.relayed {
                way.under_way
                    .extend(from.grid.relay(relayed, to.name(), &link.linked));
            }
        }
        way.shipped = Some(shipped);
    }

    /// Delivers some of what is under way.
    fn deliver(&mut self, place: usize, feed: Feed, count: usize) {
        let link = &mut self.links[place];
        let (from, to) = (&self.sites[link.from], &self.sites[link.to]);
        for _ in 0..count {
            let way = &mut link.feeds[feed as usize];
            let Some(record) = way.under_way.pop_front() else {
                return;
            };
            match to.grid.apply(from.name(), record.clone()) {
                Ok(_) => {}
                Err(ApplyError::Gap { .. }) => way.shipped = None,
                Err(ApplyError::Refused(_)) => {
                    way.under_way.push_front(record);
                    return;
                }
                Err(error @ (ApplyError::Malformed(_) | ApplyError::ClockAhead { .. })) => {
                    panic!("{error}")
                }
            }
        }
    }

    fn step(&mut self) {
        let (site, link) = (
            self.random.below(self.sites.len()),
            self.random.below(self.links.len()),
        );
        let feed = Feed::ALL[self.random.below(2)];
        match self.random.below(22) {
            0..=6 => self.sites[site].write(),
            7..=9 => self.sites[site].flush(),
            10..=12 => self.ship(link, feed),
            13..=15 => {
                let count = 1 + self.random.below(8);
                self.deliver(link, feed, count);
            }
            16 => {
                let up = self.random.below(3) > 0;
                self.set_up(link, up);
            }
            17 => {
                let back = self.random.one_in(2);
                self.sites[site].step_clock(back);
            }
            18 if self.random.one_in(2) => self.crash(site),
            18 => {}
            19 | 20 => {
                self.sites[site].grid.spill();
            }
            _ => {
                let broken = self.random.one_in(3);
                self.sites[site].break_disk(broken);
            }
        }
    }

    fn crash(&mut self, site: usize) {
        self.sites[site].crash();
        self.begin_anew(site);
    }

    fn begin_anew(&mut self, site: usize) {
        for link in &mut self.links {
            if link.from == site || link.to == site {
                link.begin_anew();
            }
        }
    }

    /// Everything works again: until nothing is under way any more.
    fn settle(&mut self) {
        for site in &mut self.sites {
            site.break_disk(false);
            site.flush();
        }
        for place in 0..self.links.len() {
            self.set_up(place, true);
        }
        for _ in 0..100 {
            for place in 0..self.links.len() {
                for feed in Feed::ALL {
                    self.ship(place, feed);
                    self.deliver(place, feed, usize::MAX);
                }
            }
            for site in &mut self.sites {
                site.flush();
                site.grid.spill();
            }
        }
        let mut ways = self.links.iter().flat_map(|link| &link.feeds);
        let quiet = ways.all(|way| way.under_way.is_empty());
        assert!(quiet, "records go round and round");
    }

    /// One of the sites finds its disk damaged at a start, in some of its cold files, and takes
    /// what is lost there from those that it is linked with.
    fn damage(&mut self) {
        let hurt = self.random.below(self.sites.len());
        let dir = self.sites[hurt].config.dir.clone().unwrap();
        for path in cold::files(&dir) {
            if self.random.one_in(2) {
                let mut bytes = std::fs::read(&path).unwrap();
                let place = self.random.below(bytes.len());
                bytes[place] ^= 1 << self.random.below(8);
                std::fs::write(&path, bytes).unwrap();
            }
        }
        let site = &mut self.sites[hurt];
        site.grid = Arc::new(Grid::open(site.config.clone()).unwrap().0);
        let grid = self.sites[hurt].grid.clone();
        let peers = self.links.iter().filter(|link| link.to == hurt);
        for link in peers {
            mend::mend_all(&grid, &self.sites[link.from].grid);
        }
        // What looked like a write that was cut short comes as ever.
        self.begin_anew(hurt);
        self.settle();
    }

    /// One of the sites finds its journal damaged at a start, and its clients append before a peer is
    /// there; it may start once more. Then every peer is compared.
    fn damage_journal(&mut self) {
        let hurt = self.random.below(self.sites.len());
        let dir = self.sites[hurt].config.dir.clone().unwrap();
        let journals = std::fs::read_dir(dir)
            .unwrap()
            .map(|file| file.unwrap().path());
        for path in journals.filter(|path| path.is_file()) {
            let mut bytes = std::fs::read(&path).unwrap();
            for _ in 0..=self.random.below(3) {
                let place = self.random.below(bytes.len());
                bytes[place] ^= 1 << self.random.below(8);
            }
            std::fs::write(path, bytes).unwrap();
        }
        let known = self.sites[hurt].model.lines.clone();
        self.start_damaged(hurt);
        let is_alone = self.random.one_in(2);
        if is_alone {
            self.append_alone(hurt);
        }
        self.begin_anew(hurt);
        self.meet(hurt);
        let site = &self.sites[hurt];
        assert!(site.grid.doubts().is_empty() && site.grid.holes().is_empty());
        let lines = lines(&site.grid, b"log");
        let appended = &site.model.lines[known.len()..];
        let expected = BTreeSet::from_iter(known.iter().chain(appended).copied());
        assert_eq!(BTreeSet::from_iter(lines), expected, "of {}", site.name());
    }

    /// As another incarnation, if something was put aside.
    fn start_damaged(&mut self, hurt: usize) {
        let peers = self.links.iter().filter(|link| link.from == hurt);
        let peers = peers
            .map(|link| self.sites[link.to].name().clone())
            .collect();
        let site = &mut self.sites[hurt];
        site.config.peers = peers;
        let (grid, recovery) = Grid::open(site.config.clone()).unwrap();
        site.grid = Arc::new(grid);
        if !recovery.quarantined.is_empty() {
            site.config.incarnation += 100;
            site.grid = Arc::new(Grid::open(site.config.clone()).unwrap().0);
        }
    }

    /// Clients write at a site that has met no peer since its start, which may crash meanwhile. A reader
    /// is given all that was there, or an error.
    fn append_alone(&mut self, hurt: usize) {
        let site = &mut self.sites[hurt];
        // Its clock goes on.
        let last = site.model.lines.last().map_or(0, |id| id.ms);
        site.clock_ms = site.clock_ms.max(last + 1);
        for _ in 0..1 + self.random.below(6) {
            self.sites[hurt].write();
            match self.random.below(4) {
                0 => self.sites[hurt].flush(),
                1 => drop(self.sites[hurt].grid.spill()),
                2 => {
                    self.sites[hurt].flush();
                    self.start_damaged(hurt);
                }
                _ => {}
            }
            let site = &self.sites[hurt];
            let Some(id) = site.grid.log_id(&own_log(site.name())) else {
                continue;
            };
            let mut seen = Vec::new();
            let read = site.grid.read_log(id, IdRange::ALL, |id, _| {
                seen.push(id);
                true
            });
            assert!(
                read.is_err() || seen == site.model.lines,
                "less than there was, and no error"
            );
        }
        self.sites[hurt].flush();
    }

    /// All meet again, and what is lost or in doubt at `hurt` is taken from each peer, as a comparison does.
    fn meet(&mut self, hurt: usize) {
        self.settle();
        for _ in 0..2 {
            for link in self.links.iter().filter(|link| link.to == hurt) {
                let (here, there) = (&self.sites[hurt], &self.sites[link.from]);
                mend::mend_all(&here.grid, &there.grid);
                for (log, span) in here.grid.doubts() {
                    mend::mend_log(&here.grid, &there.grid, (&log, span), false);
                }
                here.grid.settle_doubts(there.name());
            }
        }
        self.begin_anew(hurt);
        self.settle();
    }

    fn check(&self) {
        let digest = self.sites[0].grid.digest();
        for site in &self.sites {
            assert_eq!(site.grid.digest(), digest, "{} differs", site.name());
            for origin in &self.sites {
                let value = site.grid.lock().get(&origin.key()).unwrap().unwrap_or(0);
                assert_eq!(
                    value,
                    origin.model.possible,
                    "{} at {}",
                    origin.name(),
                    site.name()
                );
                let own = origin.name() == site.name();
                let prefix = if own {
                    String::new()
                } else {
                    format!("{}.", origin.name())
                };
                let log = lines(&site.grid, format!("{prefix}log").as_bytes());
                assert_eq!(log, origin.model.lines, "{prefix}log at {}", site.name());
            }
            assert_eq!(site.grid.stats().conflicts_total, 0);
        }
    }
}

fn run_seed(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..150 {
        world.step();
    }
    world.settle();
    world.check();
    if world.random.one_in(3) {
        world.damage();
        world.check();
    }
    if world.random.one_in(3) {
        world.damage_journal();
        world.check();
    }
}

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn sites_agree_with_the_model_whatever_happens() {
    if let Some(seed) = number("STRAIT_SIM_SEED") {
        return run_seed(seed);
    }
    for seed in 0..number("STRAIT_SIM_SEEDS").unwrap_or(300) {
        let outcome = std::panic::catch_unwind(|| run_seed(seed));
        assert!(outcome.is_ok(), "STRAIT_SIM_SEED={seed} shows it again");
    }
}
