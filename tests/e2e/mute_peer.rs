//! A peer that is known, takes what it is sent, and acknowledges none of it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::time::Duration;

use bytes::Bytes;
use strait::codec::{LinkDecoder, LinkEncoder};
use strait::grid::Feed;
use strait::streams::StreamOpen;
use strait_dedup::{Store, StoreConfig};
use strait_tests::{Site, eventually, eventually_equal_digests, join};
use strait_transport::{
    Class, Decode, Encode, Identity, LinkEvent, Node, NodeConfig, PeerConfig, PublicKey,
};
use tokio::runtime::Runtime;

/// The list of what a site holds, on a grid stream: nothing.
const HOLDS_NOTHING: &[u8] = &[2, 1];
const KEYS: usize = 10_000;

/// A gateway that was made for this test.
struct Mute {
    runtime: Runtime,
    identity: Identity,
}

impl Mute {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            identity: Identity::generate().unwrap(),
        }
    }

    /// Dials, asks for everything, and drops what comes.
    fn dial(&self, site: &Site, key: PublicKey) -> Node {
        let peer = PeerConfig {
            addresses: vec![site.link.to_string()],
            ..PeerConfig::new(site.name.parse().unwrap(), key)
        };
        let config = NodeConfig {
            site: "mute".parse().unwrap(),
            incarnation: 1,
            identity: self.identity.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            callers_from: Vec::new(),
            gso: true,
            peers: vec![peer],
        };
        let store = Store::open(StoreConfig {
            dir: None,
            memory_bytes_max: 64 << 20,
            disk_bytes_max: 0,
            links: 1,
        });
        let codec = |peer: &PeerConfig| -> (Box<dyn Encode>, Box<dyn Decode>) {
            let (encoder, decoder) = store.link(peer.site.as_ref());
            (
                Box::new(LinkEncoder(encoder)),
                Box::new(LinkDecoder(decoder)),
            )
        };
        let bound = self.runtime.block_on(Node::bind(config, codec));
        let (node, mut links) = bound.unwrap();
        let (link, mut events) = links.pop().unwrap();
        self.runtime.spawn(async move {
            let mut grid = None;
            while let Some(event) = events.next().await {
                if let LinkEvent::Up { fresh: true, .. } = event {
                    let feed = Feed::Counters;
                    let open = StreamOpen::Grid { feed }.encode();
                    let mut stream = link.open(Class::Interactive, open).unwrap();
                    let nothing = Bytes::from_static(HOLDS_NOTHING);
                    stream.send(nothing, false).await.unwrap();
                    grid = Some(stream);
                }
            }
            drop(grid);
        });
        node
    }
}

fn stalls(site: &Site, peer: &str) -> f64 {
    let site_name = &site.name;
    let labels = format!("{{site=\"{site_name}\",link=\"{peer}\"}}");
    site.metric(&format!("strait_link_stalls_total{labels}"))
}

/// Every key, a few times, at one site; the other holds it soon.
fn count(at: &Site, other: &Site) {
    let mut redis = at.redis();
    for _ in 0..3 {
        let mut pipe = redis::pipe();
        for key in 0..KEYS {
            pipe.incr(format!("banner:{key}"), 1).ignore();
        }
        pipe.exec(&mut redis).unwrap();
    }
    eventually_equal_digests(at, other, 60);
}

#[test]
fn a_peer_that_never_acknowledges_harms_nobody() {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let _cable = join(&east, &west);
    let mute = Mute::new();
    let key = mute.identity.public_key();
    west.configure(&format!(
        "\n[[peer]]\nsite = \"mute\"\nkey = \"{key}\"\nstall_s = 1\n"
    ));
    east.start();
    west.start();
    let key = west.status().unwrap()["gateway"]["key"].clone();
    let key = key.as_str().unwrap().parse().unwrap();
    let node = mute.dial(&west, key);
    count(&west, &east);
    eventually("the stall is counted", 20, || {
        (stalls(&west, "mute") > 0.0).then_some(())
    });

    let resident = || west.metric("process_resident_memory_bytes");
    let before = resident();
    for _ in 0..4 {
        count(&west, &east);
    }
    let grown = resident() - before;
    assert!(grown < f64::from(32 << 20), "{grown} bytes");
    let cpu = || west.metric("process_cpu_seconds_total");
    eventually("it is at rest", 20, || {
        let before = cpu();
        std::thread::sleep(Duration::from_millis(500));
        (cpu() - before < 0.1).then_some(())
    });
    assert_eq!(stalls(&west, "east"), 0.0);
    let (told, log) = (stalls(&west, "mute"), west.log_text());
    let lines = log.lines();
    let lines = lines.filter(|line| line.contains("acknowledges nothing"));
    assert_eq!(lines.count() as f64, told, "a line each time");
    mute.runtime.block_on(node.close());
}
