//! Two ends of a link on one machine: two gateways' grids, or one and a peer that says what it likes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use bytes::Bytes;
use strait_transport::{
    Class, Identity, Node, NodeConfig, OutStream, PassThrough, PeerConfig, PublicKey, Seq,
};

use super::*;
use crate::bulk::BulkConfig;
use crate::forward;
use crate::grid::{
    Epoch, FlushNumber, Flusher, GridConfig, NewId, Origin, Positions, now_ms, pack_values,
};
use crate::heartbeat::Late;

const PATIENCE: Duration = Duration::from_secs(30);
/// The list of what a site holds: nothing.
const HOLDS_NOTHING: &[u8] = &[2, 1];
const BEGIN: &[u8] = &[7];
const CAUGHT_UP: &[u8] = &[6];
/// One record that begins like one of counters and goes on like none.
const UNREADABLE: &[u8] = &[4, 4, 0, 0, 0, 2, 1, 255, 255];

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn grid(name: &str) -> Arc<Grid> {
    grid_in(None, name)
}

fn grid_in(dir: Option<&Path>, name: &str) -> Arc<Grid> {
    let config = GridConfig {
        dir: dir.map(Path::to_owned),
        site: site(name),
        incarnation: 1,
        flush_interval: Duration::from_millis(5),
        loss_window: Duration::from_secs(1),
        memory_bytes_max: 64 << 20,
        peers: BTreeSet::new(),
        cold: None,
    };
    Arc::new(Grid::open(config).unwrap().0)
}

fn add(grid: &Grid, key: &[u8]) -> Epoch {
    grid.lock().add(key, 1).unwrap();
    grid.flush().unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

async fn acked(out: &OutStream, seq: Seq) {
    let waited = tokio::time::timeout(PATIENCE, out.acked(seq)).await;
    waited.expect("it is acknowledged").unwrap();
}

/// Nodes of east and west, each with a link to the other.
async fn nodes() -> [(Node, LinkHandle, LinkEvents); 2] {
    let identities = [(); 2].map(|()| Identity::generate().unwrap());
    let address = strait_ports::free_port();
    let config = |own: usize, peer: PublicKey| NodeConfig {
        site: site(["east", "west"][own]),
        incarnation: 1,
        identity: identities[own].clone(),
        listen: [([127, 0, 0, 1], 0).into(), address][own],
        callers_from: Vec::new(),
        gso: true,
        peers: vec![PeerConfig {
            addresses: [vec![address.to_string()], Vec::new()][own].clone(),
            ..PeerConfig::new(site(["west", "east"][own]), peer)
        }],
    };
    let bind = async |own: usize| {
        let config = config(own, identities[1 - own].public_key());
        let pass = |_: &PeerConfig| -> (
            Box<dyn strait_transport::Encode>,
            Box<dyn strait_transport::Decode>,
        ) { (Box::new(PassThrough), Box::new(PassThrough)) };
        let (node, mut links) = Node::bind(config, pass).await.unwrap();
        let (link, events) = links.remove(0);
        (node, link, events)
    };
    let west = bind(1).await;
    [bind(0).await, west]
}

/// A gateway's grid that is replicated over a link.
struct Replicated {
    grid: Arc<Grid>,
    progress: Arc<Progress>,
    flusher: Option<Flusher>,
    _dir: tempfile::TempDir,
}

impl Drop for Replicated {
    fn drop(&mut self) {
        if let Some(flusher) = self.flusher.take() {
            flusher.stop();
        }
    }
}

fn replicate(grid: Arc<Grid>, link: LinkHandle, events: LinkEvents) -> Replicated {
    let dir = tempfile::tempdir().unwrap();
    let links = || HashMap::from([(link.site().clone(), link.clone())]);
    let files = BulkConfig {
        dir: dir.path().join("files"),
        snapshots: None,
        seen: None,
        bytes_max: u64::MAX,
        free_bytes_min: 0,
        shared: Some(true),
        idle_max: Duration::from_secs(3600),
    };
    let ports = forward::Ports::take(&[]).unwrap();
    let (forwards, _) = Forwards::listen(ports, &[], &[], links()).unwrap();
    let rooms = Rooms {
        grid: grid.clone(),
        bulk: Arc::new(Bulk::new(&files, links()).unwrap().0),
        forwards: Arc::new(forwards),
        floors: Arc::new(Floors::new(grid.clone(), 1)),
        neighbours: Arc::new(Neighbours::new(true)),
    };
    let (progress, comparer) = (Arc::new(Progress::default()), Arc::new(Comparer::new(None)));
    tokio::spawn(run(rooms, link, events, (progress.clone(), comparer)));
    Replicated {
        flusher: Some(Flusher::spawn(grid.clone()).unwrap()),
        grid,
        progress,
        _dir: dir,
    }
}

/// A peer of which the test says what it sends, and what of the other's it acknowledges.
struct Puppet {
    link: LinkHandle,
    events: LinkEvents,
    /// What came and was not acknowledged yet, oldest first.
    held: Vec<(StreamOpen, Received)>,
}

impl Puppet {
    async fn begin(link: LinkHandle, events: LinkEvents) -> (Self, OutStream) {
        let mut puppet = Self {
            link,
            events,
            held: Vec::new(),
        };
        while puppet.link.open(Class::Control, Bytes::new()).is_err() {
            puppet.event().await;
        }
        let feed = Feed::Counters;
        let open = StreamOpen::Grid { feed }.encode();
        let mut out = puppet.link.open(Class::Interactive, open).unwrap();
        out.send(HOLDS_NOTHING.into(), false).await.unwrap();
        (puppet, out)
    }

    async fn event(&mut self) {
        let event = tokio::time::timeout(PATIENCE, self.events.next()).await;
        if let Some(LinkEvent::Batch(received)) = event.expect("something comes") {
            let open = StreamOpen::decode(&received.open).unwrap();
            self.held.push((open, received));
        }
    }

    /// Waits for a batch of a stream that begins with these bytes, and takes it.
    async fn batch(&mut self, of: &StreamOpen, start: &[u8]) -> Received {
        loop {
            let is_it = |(open, received): &(StreamOpen, Received)| {
                open == of && received.bytes.starts_with(start)
            };
            if let Some(place) = self.held.iter().position(is_it) {
                return self.held.remove(place).1;
            }
            self.event().await;
        }
    }

    /// Says that a batch of counters was not taken, and waits until that is heeded.
    async fn refuse(&self, seq: Seq, reason: &str) {
        let open = StreamOpen::Refusals.encode();
        let mut refusals = self.link.open(Class::Control, open).unwrap();
        // As `Refusal::encode` has it.
        let mut said = vec![1, 0, 1];
        said.extend(seq.0.to_le_bytes());
        said.extend(reason.as_bytes());
        let told = refusals.send(said.into(), false).await.unwrap();
        acked(&refusals, told).await;
    }

    fn ack_all(&mut self) {
        for (_, received) in self.held.drain(..) {
            received.ack();
        }
    }
}

fn records(records: &[Bytes]) -> Bytes {
    let mut packer = message::RecordPacker::default();
    for record in records {
        assert_eq!(packer.push(record), None);
    }
    packer.finish().unwrap_or_else(message::no_records)
}

fn watermark(grid: &Grid, of: &Origin) -> Epoch {
    grid.flush().unwrap();
    let Positions { watermarks, .. } = grid.positions(Feed::Counters);
    BTreeMap::get(&watermarks, of).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_told_before_it_is_acknowledged_and_nothing_after_it_is_complete() {
    let [(_east, east, east_events), (_west, west, west_events)] = nodes().await;
    let here = replicate(grid("east"), east, east_events);
    let (mut puppet, mut out) = Puppet::begin(west, west_events).await;
    // As a gateway at west would say it, but for one record.
    let theirs = grid("west");
    add(&theirs, b"first");
    let origin = theirs.origin();
    let record_of = |flush: u64| theirs.flushed(Feed::Counters, FlushNumber(flush)).unwrap();
    let first = out
        .send(records(&record_of(1).records), false)
        .await
        .unwrap();
    acked(&out, first).await;
    let complete = watermark(&here.grid, &origin);
    assert!(complete > Epoch::default());

    let refused = out.send(UNREADABLE.into(), false).await.unwrap();
    add(&theirs, b"second");
    let second = out
        .send(records(&record_of(2).records), false)
        .await
        .unwrap();
    out.send(CAUGHT_UP.into(), false).await.unwrap();
    let told = puppet.batch(&StreamOpen::Refusals, &[]).await;
    let refusal = Refusal::decode(&told.bytes).unwrap();
    assert_eq!((refusal.feed, refusal.seq), (Feed::Counters, refused));
    assert!(!refusal.is_gap);
    until("the rest is taken", || {
        here.grid.lock().get(b"second") == Ok(Some(1))
    })
    .await;
    assert!(
        !out.is_acked(refused).unwrap(),
        "the peer does not heed it yet"
    );
    told.ack();
    acked(&out, second).await;
    assert_eq!(
        watermark(&here.grid, &origin),
        complete,
        "something before it is missing"
    );
    assert_eq!(
        here.progress.not_taken(Feed::Counters).here,
        Some(refusal.reason)
    );
    assert!(!here.progress.figures(Feed::Counters).heard_all);

    // It is asked to begin anew, and does.
    let of_counters = StreamOpen::Grid {
        feed: Feed::Counters,
    };
    puppet.batch(&of_counters, &[2]).await;
    out.send(BEGIN.into(), false).await.unwrap();
    let both: Vec<_> = [1, 2]
        .iter()
        .flat_map(|flush| record_of(*flush).records.clone())
        .collect();
    out.send(records(&both), false).await.unwrap();
    let end = out.send(CAUGHT_UP.into(), false).await.unwrap();
    acked(&out, end).await;
    until("all is heard", || {
        here.progress.figures(Feed::Counters).heard_all
    })
    .await;
    assert!(watermark(&here.grid, &origin) > complete);
    assert_eq!(here.progress.not_taken(Feed::Counters), NotTaken::default());
    assert_eq!(here.progress.figures(Feed::Counters).refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_peer_did_not_take_is_not_confirmed_until_it_was_sent_again() {
    let [(_east, east, east_events), (_west, west, west_events)] = nodes().await;
    let here = replicate(grid("east"), east, east_events);
    let (mut puppet, mut out) = Puppet::begin(west, west_events).await;
    let of_counters = StreamOpen::Grid {
        feed: Feed::Counters,
    };
    puppet.batch(&of_counters, BEGIN).await.ack();
    puppet.batch(&of_counters, CAUGHT_UP).await.ack();
    let is_acked = |epoch: Epoch| {
        let acked = here.grid.acked().borrow().get(&site("west")).copied();
        acked.is_some_and(|acked| acked.epoch(Feed::Counters) >= epoch)
    };
    puppet.ack_all();
    let epoch = add(&here.grid, b"hits");
    let batch = puppet.batch(&of_counters, &[4]).await;
    let reason = "a version out of range";
    puppet.refuse(batch.seq, reason).await;
    batch.ack();
    // Nor what comes after it.
    let later = add(&here.grid, b"hits");
    let batch = puppet.batch(&of_counters, &[4]).await;
    batch.ack();
    puppet.ack_all();
    let not_taken = here.progress.not_taken(Feed::Counters);
    assert_eq!(not_taken.there.as_deref(), Some(reason));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!is_acked(epoch), "what was refused counts as held");

    out.send(HOLDS_NOTHING.into(), false).await.unwrap();
    puppet.batch(&of_counters, BEGIN).await.ack();
    puppet.batch(&of_counters, CAUGHT_UP).await.ack();
    puppet.ack_all();
    until("it counts again", || is_acked(later)).await;
    until("and is shown so", || {
        here.progress.not_taken(Feed::Counters) == NotTaken::default()
    })
    .await;
}

/// The refusal may be here before the acknowledgement of what came before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_with_nothing_for_the_peer_confirms_nothing_that_it_did_not_take() {
    let [(_east, east, east_events), (_west, west, west_events)] = nodes().await;
    let here = replicate(grid("east"), east, east_events);
    let (mut puppet, _out) = Puppet::begin(west, west_events).await;
    let of_counters = StreamOpen::Grid {
        feed: Feed::Counters,
    };
    puppet.batch(&of_counters, BEGIN).await.ack();
    puppet.batch(&of_counters, CAUGHT_UP).await.ack();
    puppet.ack_all();
    let acked_to = || {
        let acked = here.grid.acked().borrow().get(&site("west")).copied();
        acked.map_or(Epoch::default(), |acked| acked.epoch(Feed::Counters))
    };
    let taken = add(&here.grid, b"hits");
    let before = puppet.batch(&of_counters, &[4]).await;
    let not_taken = add(&here.grid, b"hits");
    let batch = puppet.batch(&of_counters, &[4]).await;
    puppet.refuse(batch.seq, "a version out of range").await;
    let shipped = || here.progress.figures(Feed::Counters).shipped;
    let last = shipped();
    let line = pack_values([&b"line"[..], b"1"].into_iter());
    let logged = here
        .grid
        .lock()
        .append(b"clicks", NewId::Auto, &line, (true, None), now_ms());
    assert!(logged.unwrap().is_some());
    here.grid.flush().unwrap();
    until("a flush of logs alone is passed over", || shipped() > last).await;
    before.ack();
    until("what was taken counts", || acked_to() >= taken).await;
    assert!(acked_to() < not_taken, "what was refused counts as held");
    let there = here.progress.not_taken(Feed::Counters).there;
    assert!(there.is_some(), "it is not shown any more");
    drop(batch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_clock_is_two_days_ahead_is_told_so_and_its_peers_confirm_nothing() {
    let [(_east, east, east_events), (_west, west, west_events)] = nodes().await;
    let (ahead, right) = (grid("east"), grid("west"));
    ahead.set_clock_ahead(Duration::from_secs(2 * 86_400));
    let ahead = replicate(ahead, east, east_events);
    let right = replicate(right, west, west_events);
    until("they are linked", || {
        [&ahead, &right].iter().all(|end| end.progress.heard_all())
    })
    .await;
    let epoch = add(&ahead.grid, b"hits");
    until("both say so", || {
        let there = ahead.progress.not_taken(Feed::Counters).there;
        there.is_some_and(|why| why.contains("clock"))
            && right.progress.not_taken(Feed::Counters).here.is_some()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let acked = ahead.grid.acked().borrow().get(&site("west")).copied();
    assert!(acked.is_none_or(|acked| acked.epoch(Feed::Counters) < epoch));
    assert_eq!(right.grid.lock().get(b"hits"), Ok(None));
    assert_eq!(ahead.progress.not_taken(Feed::Logs), NotTaken::default());
    // The other way all is well.
    let epoch = add(&right.grid, b"others");
    until("the peer confirms", || {
        let acked = right.grid.acked().borrow().get(&site("east")).copied();
        acked.is_some_and(|acked| acked.epoch(Feed::Counters) >= epoch)
    })
    .await;
    assert_eq!(ahead.grid.lock().get(b"others"), Ok(Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_be_told_is_acknowledged_nothing_from_what_was_not_taken_on() {
    let [(_east, east, mut events), (_west, west, west_events)] = nodes().await;
    let (here, progress) = (grid("east"), Arc::new(Progress::default()));
    let flusher = Flusher::spawn(here.clone()).unwrap();
    let feed = (Feed::Counters, progress.clone());
    let incoming = receive::start(here.clone(), east.site(), feed, (Arc::default(), None));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let LinkEvent::Batch(received) = event {
                incoming.send(received);
            }
        }
    });
    let (_puppet, mut out) = Puppet::begin(west, west_events).await;
    let theirs = grid("west");
    add(&theirs, b"hits");
    let good = theirs.flushed(Feed::Counters, FlushNumber(1)).unwrap();
    let before = out.send(records(&[]), false).await.unwrap();
    acked(&out, before).await;
    out.send(UNREADABLE.into(), false).await.unwrap();
    let after = out.send(records(&good.records), false).await.unwrap();
    until("the rest is taken", || {
        here.lock().get(b"hits") == Ok(Some(1))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!out.is_acked(Seq(after.0 - 1)).unwrap() && !out.is_acked(after).unwrap());
    assert_eq!(watermark(&here, &theirs.origin()), Epoch::default());
    assert!(progress.not_taken(Feed::Counters).here.is_some());
    flusher.stop();
}

/// A thread that holds a lock.
struct Holder {
    barrier: Arc<Barrier>,
    thread: std::thread::JoinHandle<()>,
}

impl Holder {
    /// `hold` takes the lock, and has it from when the barrier opens until it opens again.
    fn take(hold: impl FnOnce(&Barrier) + Send + 'static) -> Self {
        let barrier = Arc::new(Barrier::new(2));
        let holds = barrier.clone();
        let thread = std::thread::spawn(move || hold(&holds));
        barrier.wait();
        Self { barrier, thread }
    }

    /// Nothing reaches the disk of this grid.
    fn of_disk(grid: &Grid) -> Self {
        let gate = grid.disk_gate();
        Self::take(move |barrier| {
            let _disk = gate.lock();
            barrier.wait();
            barrier.wait();
        })
    }

    fn let_go(self) {
        self.barrier.wait();
        self.thread.join().unwrap();
    }
}

/// A session that ends lets go of what its peer sent, although the disk answers nobody.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_session_outlives_it_while_the_disk_hangs() {
    let [(_east, east, mut events), (_west, west, west_events)] = nodes().await;
    let dir = tempfile::tempdir().unwrap();
    let here = grid_in(Some(dir.path()), "east");
    let disk = Holder::of_disk(&here);
    let feed = (Feed::Counters, Arc::new(Progress::default()));
    let incoming = receive::start(here.clone(), east.site(), feed, (Arc::default(), None));
    let (_puppet, mut out) = Puppet::begin(west, west_events).await;
    let theirs = grid("west");
    add(&theirs, b"hits");
    let batch = theirs.flushed(Feed::Counters, FlushNumber(1)).unwrap();
    out.send(records(&batch.records), false).await.unwrap();
    let serve = async {
        while here.lock().get(b"hits") != Ok(Some(1)) {
            let event = tokio::time::timeout(Duration::from_millis(5), events.next()).await;
            if let Ok(Some(LinkEvent::Batch(received))) = event {
                incoming.send(received);
            }
        }
    };
    let served = tokio::time::timeout(PATIENCE, serve).await;
    served.expect("it is applied, and waits for the disk");
    drop(incoming);
    until("the session's thread and task are gone", || {
        Arc::strong_count(&here) == 1
    })
    .await;
    disk.let_go();
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_hang_are_told_from_those_that_wait_for_the_disk() {
    const SOON: Duration = Duration::from_millis(100);
    let [(_east, east, east_events), (_west, west, west_events)] = nodes().await;
    let dir = tempfile::tempdir().unwrap();
    let here = replicate(grid_in(Some(dir.path()), "east"), east, east_events);
    let there = replicate(grid("west"), west, west_events);
    until("they are linked", || {
        [&here, &there].iter().all(|end| end.progress.heard_all())
    })
    .await;
    let late = || {
        let [applying, _] = here.progress.heartbeats(Feed::Counters);
        [here.grid.flushing(), applying].map(|heartbeat| heartbeat.late(SOON))
    };
    until("both come round", || late() == [None; 2]).await;

    let disk = Holder::of_disk(&here.grid);
    here.grid.lock().add(b"ours", 1).unwrap();
    until("the flush waits for the disk", || {
        matches!(late()[0], Some(Late::OnDisk(_)))
    })
    .await;
    disk.let_go();
    until("it comes round again", || late() == [None; 2]).await;

    let grid = here.grid.clone();
    let state = Holder::take(move |barrier| {
        let _state = grid.lock();
        barrier.wait();
        barrier.wait();
    });
    add(&there.grid, b"theirs");
    until("both hang", || {
        let is_hanging = |late| matches!(late, Some(Late::Working(_)));
        late().into_iter().all(is_hanging)
    })
    .await;
    state.let_go();
    until("and come round again", || late() == [None; 2]).await;
}
