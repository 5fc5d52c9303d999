//! What a grid says of itself: what is durable, when its start is over, what its digest covers.

use std::thread;

use super::super::counter::{Component, OriginId, SiteId};
use super::super::image::Image;
use super::super::keyspace::CounterRef;
use super::super::origins::Origins;
use super::super::record::{CounterRows, Part};
use super::*;

fn origin(site: &str) -> Origin {
    Origin {
        site: site.parse().unwrap(),
        incarnation: 1,
    }
}

/// A counter of the peer at `version`, of which presence says `hlc`.
fn row(version: u64, hlc: u64) -> Bytes {
    let mut origins = Origins::new(origin("north"));
    let peer = origins.intern(&origin("south")).unwrap();
    let site = SiteId(1);
    let part = Part {
        origin: peer,
        component: Component { version, sum: 1 },
    };
    let mut rows = CounterRows::default();
    rows.push((b"hits", None), (hlc, site, hlc > 0), vec![part], None);
    rows.encode(&origins, &[(peer, Epoch(version))]).remove(0)
}

/// One thread merges what a peer sends, another flushes and asks what is durable: that is in the journal, or
/// a crash would take back what was said.
#[test]
fn what_is_said_to_be_durable_is_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let west = Grid::open(config("west", Some(dir.path().to_owned())));
    let west = west.unwrap().0;
    thread::scope(|scope| {
        let told = scope.spawn(|| {
            for version in 1..=3000 {
                west.apply(&peer(), row(version, 1)).unwrap();
            }
        });
        while !told.is_finished() {
            west.flush().unwrap();
            let said = west.positions(Feed::Counters).watermark(&origin("south"));
            let (image, _) = Image::of_journal(dir.path(), &"west".parse().unwrap()).unwrap();
            let held = image.watermark(&origin("south"));
            assert!(held >= said, "{held:?} is on disk, {said:?} was said");
        }
    });
}

#[test]
fn a_start_is_over_also_where_there_is_nothing_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let config = GridConfig {
        peers: BTreeSet::from([peer()]),
        ..config("east", Some(dir.path().to_owned()))
    };
    let east = Grid::open(config).unwrap().0;
    east.flush().unwrap();
    for feed in Feed::ALL {
        east.heard(&peer(), feed);
    }
    east.flush().unwrap();
    assert!(!east.lock().runs.is_open());
}

/// Each site would else name itself as the one that said it.
#[test]
fn sites_agree_on_a_counter_of_which_presence_was_never_said() {
    let digests = ["east", "west"].map(|site| {
        let grid = grid(site);
        grid.apply(&peer(), row(3, 0)).unwrap();
        assert_eq!(
            grid.lock().keys.other(CounterRef::key(0), OriginId(1)).sum,
            1
        );
        grid.digest()
    });
    assert_eq!(digests[0], digests[1]);
}
