//! A peer with a pinned key that says Hello and reads nothing from then on.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::establish::{self, Pair};
use crate::class::Class;
use crate::codec::PassThrough;
use crate::config::{NodeConfig, PeerConfig};
use crate::identity::Identity;
use crate::line::Purpose;
use crate::node::Node;
use crate::quic;
use crate::session::{Instance, Session};
use crate::status::Phase;
use crate::tls::Keyring;
use crate::wire::hello::{Hello, OURS, PairToken, Prefix};

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
const BATCH_BYTES: usize = 1 << 20;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_is_told_of_and_takes_no_more_than_its_window() {
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
    let unread = say_hello(&node, &east, &west).await;
    timeout(PATIENCE, events.next()).await.unwrap().unwrap();

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
