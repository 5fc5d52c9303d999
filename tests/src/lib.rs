//! End-to-end tests: starts real gateways, as an operator would, and talks to
//! them with real clients.

mod clock;
mod http;
mod journal;
mod lab;
pub mod postgres;
mod site;
mod small_disk;
mod wait;

pub use clock::Clock;
pub use http::get;
pub use journal::{Edit, append_to_journal, edit_journal, newest_journal};
pub use lab::{Lab, Side};
pub use site::{Exit, Site, binary, signal};
pub use small_disk::SmallDisk;
pub use strait::demo::wan::{Wan, WanConfig};
pub use strait_ports::free_port;
pub use wait::{eventually, eventually_all_equal, eventually_equal_digests};

use std::net::SocketAddr;
use std::time::Duration;

/// A link between two sites that can be cut: one dials the other through it.
pub struct Cable {
    wan: Wan,
    _runtime: tokio::runtime::Runtime,
}

impl std::fmt::Debug for Cable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cable").field(&self.wan).finish()
    }
}

impl Cable {
    /// 200 Mbit/s, 20 ms round trip, 0.1 % loss.
    pub fn to(target: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the cable");
        let config = WanConfig {
            rate_bits_s: 200_000_000,
            delay: Duration::from_millis(10),
            loss: 0.001,
            queue: Duration::from_millis(50),
            seed: 7,
        };
        let wan = runtime
            .block_on(Wan::start(config, target))
            .expect("a relay on loopback");
        Self {
            wan,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.wan.address()
    }

    pub fn cut(&self) {
        self.wan.cut();
    }

    pub fn heal(&self) {
        self.wan.heal();
    }
}

/// Pairs two sites over a cable of their own; `dialer` dials.
pub fn join(dialer: &Site, answerer: &Site) -> Cable {
    let cable = Cable::to(answerer.link);
    dialer.pair_with(answerer, Some(cable.address()));
    answerer.pair_with(dialer, None);
    cable
}

/// Two sites with a cable between them; east dials. Both are started.
pub fn pair_of_sites() -> (Site, Site, Cable) {
    let mut east = Site::new("east");
    let mut west = Site::new("west");
    let cable = join(&east, &west);
    east.start();
    west.start();
    (east, west, cable)
}
