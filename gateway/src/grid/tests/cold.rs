//! Logs whose older entries are on disk: nobody sees a difference, whatever happens.

use std::path::Path;

use super::*;

/// All that can goes to the disk at each [`Grid::spill`].
pub(super) const ALL: ColdConfig = ColdConfig {
    memory_bytes_max: 0,
    disk_bytes_max: u64::MAX,
};

fn cold_config(dir: &Path) -> GridConfig {
    GridConfig {
        cold: Some(ALL),
        ..config("east", Some(dir.to_owned()))
    }
}

pub(super) fn open(dir: &Path) -> (Arc<Grid>, Recovery) {
    let (grid, recovery) = Grid::open(cold_config(dir)).unwrap();
    (Arc::new(grid), recovery)
}

/// An entry of some 3 KB: a block in memory takes a handful.
pub(super) fn line(n: u64) -> Vec<u8> {
    let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = Vec::new();
    while text.len() < 3000 {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        text.extend(random.to_string().into_bytes());
    }
    pack_values([&b"line"[..], &text].into_iter())
}

pub(super) fn add(grid: &Grid, n: u64) -> EntryId {
    let id = NewId::Explicit(EntryId { ms: n, seq: 0 });
    let mut state = grid.lock();
    let added = state.append(b"log", id, &line(n), (true, None), 0);
    added.unwrap().unwrap()
}

pub(super) fn fill(grid: &Grid, from: u64, to: u64) {
    for n in from..=to {
        add(grid, n);
    }
    grid.flush().unwrap();
}

/// A command that runs again until the blocks that it looks into are in memory.
fn insist<T>(grid: &Grid, mut command: impl FnMut(&mut State) -> Result<T, OpError>) -> T {
    for _ in 0..8 {
        let (done, wanted) = {
            let mut state = grid.lock();
            (command(&mut state), state.take_wanted())
        };
        match wanted {
            Some((log, absent)) => grid.thaw(log, &absent).unwrap(),
            None => return done.unwrap(),
        }
    }
    panic!("the command asks for blocks for ever");
}

fn trim(grid: &Grid, keep: Keep, roughly: bool) -> u64 {
    let trim = Trim {
        keep,
        roughly,
        limit: None,
    };
    insist(grid, |state| state.trim(b"log", trim))
}

fn read(grid: &Grid, range: IdRange) -> Vec<u64> {
    read_of(grid, b"log", range)
}

/// Milliseconds of the ids that a log has there, each checked to hold its [`line`].
pub(super) fn read_of(grid: &Grid, key: &[u8], range: IdRange) -> Vec<u64> {
    let mut seen = Vec::new();
    let Some(Kind::Log(log)) = grid.lock().kind(key) else {
        return seen;
    };
    let found = |id: EntryId, payload: &[u8]| {
        assert_eq!(payload, line(id.ms), "{id}");
        seen.push(id.ms);
        true
    };
    grid.read_log(log, range, found).unwrap();
    seen
}

fn between(start: u64, end: u64) -> IdRange {
    IdRange {
        start: EntryId { ms: start, seq: 0 },
        end: EntryId { ms: end, seq: 0 },
        newest_first: false,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    TrimNewest(u64, bool),
    TrimFrom(u64, bool),
    /// `XADD … MAXLEN =`.
    AddAndTrim(u64),
    Delete,
    Flush,
    Spill,
    Rewrite,
    Restart,
    BreakDisk(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_u64).prop_map(Step::Add),
        2 => (0..60_u64, any::<bool>()).prop_map(|(keep, roughly)| Step::TrimNewest(keep, roughly)),
        2 => (0..200_u64, any::<bool>()).prop_map(|(from, roughly)| Step::TrimFrom(from, roughly)),
        1 => (0..40_u64).prop_map(Step::AddAndTrim),
        1 => Just(Step::Delete),
        4 => Just(Step::Flush),
        6 => Just(Step::Spill),
        1 => Just(Step::Rewrite),
        2 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::BreakDisk),
    ]
}

/// A grid on a disk, and the list that it should be.
struct Subject {
    dir: tempfile::TempDir,
    grid: Arc<Grid>,
    seen: Vec<u64>,
    next: u64,
}

impl Subject {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        Self {
            grid: open(dir.path()).0,
            dir,
            seen: Vec::new(),
            next: 1,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Add(count) => (0..*count).for_each(|_| self.add(None)),
            Step::AddAndTrim(keep) => self.add(Some(*keep)),
            Step::TrimNewest(keep, roughly) => {
                let from = self.seen.len().saturating_sub(*keep as usize);
                self.trimmed(Keep::Newest(*keep), *roughly, from);
            }
            Step::TrimFrom(id, roughly) => {
                let from = self.seen.partition_point(|n| n < id);
                let id = EntryId { ms: *id, seq: 0 };
                self.trimmed(Keep::From(id), *roughly, from);
            }
            Step::Delete => {
                self.grid.lock().delete(b"log").unwrap();
                self.seen.clear();
            }
            Step::Flush => {
                self.grid.flush().unwrap();
            }
            Step::Spill => {
                self.grid.spill();
            }
            Step::Rewrite => {
                self.grid.begin_rewrite_now();
                for _ in 0..3 {
                    self.grid.flush().unwrap();
                }
            }
            Step::Restart => {
                self.grid.flush().unwrap();
                let (grid, recovery) = open(self.dir.path());
                assert_eq!(recovery.quarantined, Vec::<String>::new());
                assert_eq!(recovery.cold_damaged, Vec::<String>::new());
                self.grid = grid;
            }
            Step::BreakDisk(broken) => {
                self.grid.cold.lock().as_mut().unwrap().break_disk(*broken);
            }
        }
    }

    fn add(&mut self, keep: Option<u64>) {
        let n = self.next;
        self.next += 1;
        let trim = keep.map(|keep| Trim {
            keep: Keep::Newest(keep),
            roughly: false,
            limit: None,
        });
        let id = NewId::Explicit(EntryId { ms: n, seq: 0 });
        insist(&self.grid, |state| {
            state.append(b"log", id, &line(n), (true, trim), 0)
        });
        self.seen.push(n);
        if let Some(keep) = keep {
            let gone = self.seen.len().saturating_sub(keep as usize);
            self.seen.drain(..gone);
        }
    }

    fn trimmed(&mut self, keep: Keep, roughly: bool, exact: usize) {
        let gone = trim(&self.grid, keep, roughly) as usize;
        assert!(
            gone == exact || (roughly && gone < exact),
            "{gone} of {exact}"
        );
        self.seen.drain(..gone);
    }

    fn check(&self) {
        assert_eq!(read(&self.grid, IdRange::ALL), self.seen);
        let mut back = read(&self.grid, IdRange::ALL.back());
        back.reverse();
        assert_eq!(back, self.seen);
        let (start, end) = (self.next / 3, self.next * 2 / 3);
        let expected = self.seen.iter().copied();
        let expected: Vec<_> = expected.filter(|n| (start..=end).contains(n)).collect();
        assert_eq!(read(&self.grid, between(start, end)), expected);
        assert_eq!(self.grid.stats().entries, self.seen.len() as u64);
        let bytes: usize = self.grid.lock().logs.iter().map(Log::bytes).sum();
        assert_eq!(self.grid.lock().log_bytes, bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_log_on_disk_is_the_log_in_memory(steps in proptest::collection::vec(step(), 1..60)) {
        let mut subject = Subject::new();
        for step in &steps {
            subject.run(step);
            subject.check();
        }
        subject.run(&Step::Restart);
        subject.check();
        // A peer that comes then gets all of it, and an export has it.
        let west = grid("west");
        catch_up(&subject.grid, &west);
        prop_assert_eq!(west.digest(), subject.grid.digest());
        let site = "east".parse().unwrap();
        let (image, _) = Image::of_journal(subject.dir.path(), &site).unwrap();
        let mut exported = Vec::new();
        let found = |_: &[u8], id: EntryId, _: &[u8]| {
            exported.push(id.ms);
            Ok(())
        };
        image.entries(u64::MAX, found).unwrap();
        prop_assert_eq!(exported, subject.seen);
    }
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir.join("cold")) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Makes the journal forget what is on disk elsewhere.
pub(super) fn rewrite(grid: &Grid) {
    grid.begin_rewrite_now();
    for _ in 0..3 {
        grid.flush().unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_costs_nothing_while_the_journal_has_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = open(dir.path());
    fill(&grid, 1, 60);
    assert!(grid.spill() > 0);
    let bytes = grid.lock().log_bytes;
    assert!(bytes < 40_000, "{bytes} of 180,000 are in memory");
    drop(grid);
    let path = files(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let all: Vec<_> = (1..=60).collect();
    for cut in (0..whole.len()).step_by(whole.len() / 40) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (grid, recovery) = open(dir.path());
        assert_eq!(read(&grid, IdRange::ALL), all, "cut at {cut}");
        assert_eq!(recovery.cold_damaged, Vec::<String>::new());
    }
}

#[test]
fn a_bit_flipped_where_the_index_is_said_to_be_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = open(dir.path());
    fill(&grid, 1, 20);
    assert!(grid.spill() > 0);
    rewrite(&grid);
    grid.close_cold();
    let all = read(&grid, IdRange::ALL);
    drop(grid);
    let path = files(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..128 {
        let mut bytes = whole.clone();
        bytes[whole.len() - 16 + bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        let (grid, recovery) = open(dir.path());
        assert_eq!(read(&grid, IdRange::ALL), all, "bit {bit}");
        assert_eq!(recovery.cold_damaged, Vec::<String>::new());
    }
}

/// In the middle of the first file of cold blocks.
pub(super) fn flip_a_bit(dir: &Path) {
    let path = files(dir).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_named_and_what_is_beside_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = open(dir.path());
    for round in 0..20 {
        fill(&grid, 1 + round * 10, (round + 1) * 10);
        assert!(grid.spill() > 0);
    }
    rewrite(&grid);
    grid.close_cold();
    drop(grid);
    flip_a_bit(dir.path());
    let (grid, _) = open(dir.path());
    let Some(Kind::Log(log)) = grid.lock().kind(b"log") else {
        panic!("the log is gone");
    };
    // What is read, and between which entries nothing is.
    let (mut seen, mut holes, mut start) = (Vec::new(), Vec::new(), 1);
    loop {
        let found = |id: EntryId, _: &[u8]| {
            seen.push(id.ms);
            true
        };
        match grid.read_log(log, between(start, 200), found) {
            Ok(()) => break,
            Err(ColdError::Damaged { .. }) => start = start.max(seen.last().map_or(1, |n| n + 1)),
            Err(ColdError::Lost { first, last }) => {
                holes.push((first.ms, last.ms));
                start = last.ms + 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let lost = grid.stats().lost_blocks_total as usize;
    assert!((1..=8).contains(&lost), "of one group: {lost}");
    assert_eq!(lost, holes.len());
    let missing = holes.iter().flat_map(|(first, last)| *first..=*last);
    let mut all: Vec<_> = seen.iter().copied().chain(missing).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    assert!(seen.len() > 100, "{}", seen.len());
    // They can be given up.
    let behind = holes.last().map_or(0, |(_, last)| last + 1);
    trim(&grid, Keep::From(EntryId { ms: behind, seq: 0 }), false);
    let after: Vec<_> = (behind..=200).collect();
    assert_eq!(read(&grid, IdRange::ALL), after);
    assert_eq!(grid.stats().entries, after.len() as u64);
}

#[test]
fn files_that_are_missing_are_named_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = open(dir.path());
    for round in 0..3 {
        fill(&grid, 1 + round * 20, (round + 1) * 20);
        grid.spill();
        grid.close_cold();
    }
    rewrite(&grid);
    drop(grid);
    let files = files(dir.path());
    assert_eq!(files.len(), 3);
    for gone in [0, 1, 2] {
        let keep = std::fs::read(&files[gone]).unwrap();
        std::fs::remove_file(&files[gone]).unwrap();
        let (grid, recovery) = open(dir.path());
        assert_eq!(recovery.cold_damaged.len(), 1, "{recovery:?}");
        assert_eq!(recovery.quarantined, Vec::<String>::new());
        let Some(Kind::Log(log)) = grid.lock().kind(b"log") else {
            panic!("the log is gone");
        };
        assert!(grid.read_log(log, IdRange::ALL, |_, _| true).is_err());
        let there = if gone == 0 { 25..=32 } else { 1..=12 };
        let found = read(&grid, between(*there.start(), *there.end()));
        assert_eq!(found, there.collect::<Vec<_>>());
        assert_eq!(read(&grid, between(60, 60)), [60]);
        assert_eq!(grid.lock().log(log).position().last.ms, 60);
        std::fs::write(&files[gone], &keep).unwrap();
    }
}

#[test]
fn trims_go_on_from_block_to_block() {
    const BLOCKS: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let (grid, _) = open(dir.path());
    for block in 0..BLOCKS {
        fill(&grid, 1 + block * 20, (block + 1) * 20);
        grid.spill();
    }
    for block in 0..BLOCKS {
        // Within the block: it is taken into memory, those before it go.
        let from = block * 20 + 10;
        trim(&grid, Keep::From(EntryId { ms: from, seq: 0 }), false);
        grid.flush().unwrap();
        assert_eq!(grid.stats().entries, BLOCKS * 20 - from + 1);
    }
}

#[test]
fn trimmed_blocks_give_their_files_back_when_every_peer_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = cold_config(dir.path());
    config.peers = BTreeSet::from([peer()]);
    let grid = Arc::new(Grid::open(config.clone()).unwrap().0);
    for round in 0..3 {
        fill(&grid, 1 + round * 20, (round + 1) * 20);
        grid.spill();
        grid.close_cold();
    }
    trim(&grid, Keep::Newest(10), true);
    grid.flush().unwrap();
    grid.spill();
    assert_eq!(files(dir.path()).len(), 3, "a peer lacks them");
    let west = super::grid("west");
    catch_up(&grid, &west);
    assert_eq!(west.digest(), grid.digest());
    let (log, position) = grid.logs().remove(0);
    grid.set_log_floor(&log, position.last);
    grid.spill();
    assert_eq!(files(dir.path()).len(), 1);
    rewrite(&grid);
    let digest = grid.digest();
    drop(grid);
    let (grid, recovery) = Grid::open(config).unwrap();
    assert_eq!(recovery.cold_damaged, Vec::<String>::new());
    assert_eq!(grid.digest(), digest);
}

#[test]
fn a_full_disk_holds_entries_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = cold_config(dir.path());
    config.cold = Some(ColdConfig {
        disk_bytes_max: 1000,
        ..ALL
    });
    let grid = Grid::open(config).unwrap().0;
    fill(&grid, 1, 60);
    grid.cold.lock().as_mut().unwrap().break_disk(true);
    assert_eq!(grid.spill(), 0);
    let stats = grid.stats();
    assert_eq!((stats.cold_errors_total, stats.cold_held_up), (1, true));
    assert_eq!((stats.cold_bytes, files(dir.path()).len()), (0, 0));
    grid.cold.lock().as_mut().unwrap().break_disk(false);
    assert!(grid.spill() > 0);
    fill(&grid, 61, 120);
    assert_eq!(grid.spill(), 0, "the cap is reached");
    assert!(grid.stats().cold_held_up);
    assert_eq!(read(&grid, IdRange::ALL), (1..=120).collect::<Vec<_>>());
}
