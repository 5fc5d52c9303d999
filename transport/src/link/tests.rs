//! A peer with a pinned key that says Hello, and from then on what it likes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::establish::{self, Pair};
use super::{LinkEvent, LinkEvents, LinkHandle};
use crate::class::Class;
use crate::codec::PassThrough;
use crate::config::{NodeConfig, PeerConfig};
use crate::identity::Identity;
use crate::ids::{Number, Seq, StreamId};
use crate::line::{Purpose, Sink};
use crate::node::Node;
use crate::quic;
use crate::session::{Instance, Session};
use crate::status::Phase;
use crate::tls::Keyring;
use crate::wire::frame::Header;
use crate::wire::hello::{Hello, OURS, PairToken, Prefix};

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
const BATCH_BYTES: usize = 1 << 20;
static ZEROS: [u8; BATCH_BYTES] = [0; BATCH_BYTES];

async fn say_hello(node: &Node, east: &Identity, west: &Identity) -> Pair {
    let site = "west".parse().unwrap();
    let pins = BTreeMap::from([(west.public_key(), "west".parse().unwrap())]);
    let ring = Keyring::new(east, pins).unwrap();
    let dial = async |purpose| {
        let line = quic::dial(node.local_addr(), &site, &ring, purpose, true).await;
        line.unwrap()
    };
    let mut pair = Pair {
        control: dial(Purpose::Control).await,
        bulk: dial(Purpose::Bulk).await,
    };
    let hello = Hello {
        versions: OURS,
        site: "east".parse().unwrap(),
        incarnation: 1,
        token: PairToken(7),
        session: Session::new(Instance(7)).hello(),
        codec: Bytes::new(),
    };
    let attach = Prefix::Attach(hello.token);
    establish::write_prefix(&mut pair.bulk, attach)
        .await
        .unwrap();
    establish::write_hello(&mut pair.control, &hello)
        .await
        .unwrap();
    establish::read_hello(&mut pair.control).await.unwrap();
    pair
}

/// `west`, and the pair of connections over which `east` has said Hello.
struct Linked {
    node: Node,
    link: LinkHandle,
    events: LinkEvents,
    pair: Pair,
}

impl Linked {
    async fn new() -> Self {
        let (east, west) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let peer = PeerConfig {
            stalls_after: Duration::from_secs(1),
            ..PeerConfig::new("east".parse().unwrap(), east.public_key())
        };
        let config = NodeConfig {
            site: "west".parse().unwrap(),
            incarnation: 1,
            identity: west.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            callers_from: Vec::new(),
            gso: true,
            peers: vec![peer],
        };
        let codec = |_: &_| -> (Box<dyn crate::Encode>, Box<dyn crate::Decode>) {
            (Box::new(PassThrough), Box::new(PassThrough))
        };
        let (node, mut links) = Node::bind(config, codec).await.unwrap();
        let (link, mut events) = links.pop().unwrap();
        let pair = say_hello(&node, &east, &west).await;
        timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        Self {
            node,
            link,
            events,
            pair,
        }
    }

    async fn event(&mut self) -> LinkEvent {
        let event = timeout(PATIENCE, self.events.next()).await;
        event.expect("something happens").unwrap()
    }

    /// Writes a batch of this number, or only so much of it.
    async fn write(&self, number: u64, bytes: usize) -> Sink {
        let header = Header {
            class: Class::Interactive,
            last: false,
            literal: true,
            number: Number(number),
            stream: StreamId(1),
            seq: Seq(number),
            open: (number == 0).then(Bytes::new),
            raw_len: BATCH_BYTES,
            wire_len: BATCH_BYTES,
        };
        let sink = async {
            let opened = self.pair.control.connection.open(Class::Interactive);
            let mut sink = opened.await.unwrap();
            let piece = Bytes::from_static(&ZEROS).slice(..bytes);
            let mut pieces = [header.encode().into(), piece];
            sink.write(&mut pieces).await.unwrap();
            sink
        };
        timeout(PATIENCE, sink).await.expect("it is read")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_is_told_of_and_takes_no_more_than_its_window() {
    let Linked {
        node,
        link,
        events: _events,
        pair: unread,
    } = Linked::new().await;

    let mut stream = link.open(Class::Bulk, Bytes::new()).unwrap();
    let fill = async {
        loop {
            let batch = Bytes::from(vec![0; BATCH_BYTES]);
            stream.send(batch, false).await.unwrap();
        }
    };
    let told = async {
        while link.status().stalls == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = fill => {}
        told = timeout(PATIENCE, told) => told.unwrap(),
    }
    let status = link.status();
    assert_eq!(status.phase, Phase::Up, "it is there, and says so");
    let (ledger, held_max) = (status.ledger, 80 << 20);
    assert!(
        ledger.unacked_bytes + ledger.queued_bytes <= held_max,
        "{ledger:?}"
    );
    timeout(PATIENCE, node.close()).await.unwrap();
    drop(unread);
}

/// On one thread: what it holds is all that this link does.
#[tokio::test]
async fn a_batch_that_is_sent_over_and_over_is_held_once() {
    let mut linked = Linked::new().await;
    let before = strait_fuzz::held_bytes();
    let cut = BATCH_BYTES - 1;
    let mut first = linked.write(0, cut).await;
    let mut others = Vec::new();
    for _ in 0..200 {
        others.push(linked.write(0, cut).await);
    }
    // What is on its way, of either end, and a batch.
    let held = strait_fuzz::held_bytes() - before;
    assert!(held < 64 << 20, "{held} bytes for one batch");

    let rest = Bytes::from_static(&ZEROS[cut..]);
    first.write(&mut [rest]).await.unwrap();
    drop(first.finish().unwrap());
    let LinkEvent::Batch(batch) = linked.event().await else {
        panic!("the batch arrives");
    };
    assert_eq!(batch.bytes.len(), BATCH_BYTES);
    batch.ack();
    // Nor does it hold up what follows.
    drop(linked.write(1, BATCH_BYTES).await.finish().unwrap());
    assert!(matches!(linked.event().await, LinkEvent::Batch(batch) if batch.seq == Seq(1)));
    assert_eq!(linked.link.status().phase, Phase::Up);
    timeout(PATIENCE, linked.node.close()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_sends_beyond_its_window_is_hung_up_on() {
    let mut linked = Linked::new().await;
    let mut unacked = Vec::new();
    for number in 0..16 {
        drop(linked.write(number, BATCH_BYTES).await.finish().unwrap());
        let LinkEvent::Batch(batch) = linked.event().await else {
            panic!("batch {number} arrives");
        };
        unacked.push(batch);
    }
    drop(linked.write(16, 1).await);
    let LinkEvent::Down { reason, .. } = linked.event().await else {
        panic!("it goes on");
    };
    assert!(reason.contains("more than its window"), "{reason}");
    timeout(PATIENCE, linked.node.close()).await.unwrap();
}
