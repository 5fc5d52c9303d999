//! Peers that tell of this site what it never wrote, or of the time what no clock says.

use super::super::counter::{Cleared, Component, Deadline, Extra, OriginId, SiteId};
use super::super::origins::Origins;
use super::super::record::{CounterRows, Part};
use super::super::runs::{EPOCH_LAST, epoch_limit};
use super::*;

fn open(dir: &tempfile::TempDir) -> (Arc<Grid>, Recovery) {
    let config = GridConfig {
        peers: BTreeSet::from([peer()]),
        ..config("east", Some(dir.path().to_owned()))
    };
    let (grid, recovery) = Grid::open(config).unwrap();
    (Arc::new(grid), recovery)
}

/// A site of which every peer has told all that it holds since the start.
fn settled(dir: &tempfile::TempDir) -> Arc<Grid> {
    let (east, _) = open(dir);
    for feed in Feed::ALL {
        east.heard(&peer(), feed);
    }
    add(&east, 1);
    assert!(east.lock().runs.is_settled());
    east
}

fn add(grid: &Grid, by: i64) {
    grid.lock().add(b"hits", by).unwrap();
    grid.flush().unwrap();
}

fn hits(grid: &Grid) -> i64 {
    grid.lock().get(b"hits").unwrap().unwrap()
}

/// East, which is 0, and the peer.
fn origins() -> Origins {
    let origin = |site: &str| Origin {
        site: site.parse().unwrap(),
        incarnation: 1,
    };
    let mut origins = Origins::new(origin("east"));
    origins.intern(&origin("south")).unwrap();
    origins
}

/// A record that says nothing but this of east's epochs.
fn complete(epoch: Epoch) -> Bytes {
    let rows = CounterRows::default();
    rows.encode(&origins(), &[(OriginId::OWN, epoch)]).remove(0)
}

/// A record about `hits` with components of east and of the peer.
fn row(versions: [u64; 2], hlc: u64, extra: Option<Extra>) -> Bytes {
    let parts = versions.iter().zip(0..).map(|(version, origin)| Part {
        origin: OriginId(origin),
        component: Component {
            version: *version,
            sum: 100,
        },
    });
    let parts: Vec<_> = parts.filter(|part| part.component.version > 0).collect();
    let mut rows = CounterRows::default();
    let presence = (hlc, SiteId(1), true);
    rows.push((b"hits", None), presence, parts, extra.as_ref());
    rows.encode(&origins(), &[]).remove(0)
}

#[test]
fn versions_do_not_run_away_however_often_a_peer_raises_them() {
    let dir = tempfile::tempdir().unwrap();
    let (east, _) = open(&dir);
    let mut claimed = 1 << 53;
    for n in 0..512_u64 {
        east.apply(&peer(), complete(Epoch(claimed))).unwrap();
        claimed = (claimed + (1 << 53)).min(EPOCH_LAST.0 - n);
    }
    assert!(east.lock().epoch <= epoch_limit(now_ms()));
    assert!(east.stats().false_claims_total > 0);
    for _ in 0..6 {
        add(&east, 1);
    }
    drop(east);
    let (east, recovery) = open(&dir);
    assert_eq!(recovery.quarantined, [""; 0]);
    assert_eq!(hits(&east), 6);
}

#[test]
fn what_a_settled_site_never_wrote_is_not_taken_and_the_rest_of_the_record_is() {
    let dir = tempfile::tempdir().unwrap();
    let east = settled(&dir);
    let epoch = east.lock().epoch.0;
    let cleared = |half_epoch| Extra {
        cleared: vec![(
            OriginId::OWN,
            Cleared {
                half_epoch,
                sum: 100,
            },
        )],
        ..Extra::default()
    };
    for (version, ahead) in [(1, 1), (2, 1 << 40), (3, 1 << 61)] {
        let false_ones = row(
            [epoch + ahead, version],
            0,
            Some(cleared(2 * (epoch + ahead))),
        );
        east.apply(&peer(), false_ones).unwrap();
        east.apply(&peer(), complete(Epoch(epoch + ahead))).unwrap();
    }
    assert_eq!(east.stats().false_claims_total, 6);
    assert_eq!(east.lock().epoch.0, epoch, "nobody moves our epochs");
    assert_eq!(hits(&east), 101, "the peer's own component counts");
    add(&east, 1);
    assert_eq!(hits(&east), 102, "nobody clears what is to come");
    drop(east);
    let (east, recovery) = open(&dir);
    assert_eq!(recovery.quarantined, [""; 0]);
    assert_eq!(hits(&east), 102, "also after the next start");
}

#[test]
fn entries_that_a_settled_site_never_wrote_do_not_come_from_a_peer() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ((before, _), (forger, _)) = (open(&dir), open(&other));
    append(&before, "clicks", 1);
    before.flush().unwrap();
    // The forger says that it is east.
    let id = append(&forger, "clicks", 9);
    let last = EntryId::MAX;
    let bytes = payload(9);
    let explicit = NewId::Explicit(last);
    forger
        .lock()
        .append(b"clicks", explicit, &bytes, (true, None), 0)
        .unwrap();
    let forged: Vec<_> = flush(&forger).into_iter().filter(is_log).collect();
    drop(before);
    let east = settled(&dir);
    for record in &forged {
        east.apply(&peer(), record.clone()).unwrap();
    }
    assert_eq!(east.stats().entries, 1);
    assert!(append(&east, "clicks", 2) < last);
    assert!(east.stats().false_claims_total > 0);
    // A site that may have lost some takes what peers hold of them.
    let lost = tempfile::tempdir().unwrap();
    let (rebuilt, _) = open(&lost);
    for record in forged {
        rebuilt.apply(&peer(), record).unwrap();
    }
    assert_eq!(rebuilt.stats().entries, 2, "{id} and the last one");
}

#[test]
fn a_clock_more_than_a_day_ahead_is_refused_and_stops_nobodys() {
    let (east, west) = (grid("east"), grid("west"));
    east.lock().add(b"hits", 1).unwrap();
    let exchange = |from: &Grid, to: &Grid| {
        for record in flush(from) {
            to.apply(&from.origin().site, record).unwrap();
        }
    };
    exchange(&east, &west);
    let deadline = Extra {
        deadline: Deadline {
            at_ms: 1 << 50,
            hlc: 1 << 63,
            site: SiteId(1),
        },
        ..Extra::default()
    };
    let future = (now_ms() + 25 * 3_600_000) << 16;
    for record in [
        row([0, 7], 1 << 63, None),
        row([0, 7], future, None),
        row([0, 7], 0, Some(deadline)),
    ] {
        let refused = east.apply(&peer(), record);
        assert!(matches!(refused, Err(ApplyError::ClockAhead { ahead_s }) if ahead_s > 86_400));
    }
    assert_eq!(east.stats().clocks_refused_total, 3);
    assert_eq!(hits(&east), 1, "nothing of it was merged");
    // What either does later is later.
    for (one, other) in [(&east, &west), (&west, &east)] {
        assert_eq!(one.lock().delete(b"hits"), Ok(true));
        exchange(one, other);
        assert_eq!(other.lock().get(b"hits"), Ok(None));
        other.lock().add(b"hits", 1).unwrap();
        exchange(other, one);
        assert_eq!(hits(one), 1);
    }
    let soon = (now_ms() + 23 * 3_600_000) << 16;
    east.apply(&peer(), row([0, 7], soon, None)).unwrap();
}

#[test]
fn a_site_without_versions_left_refuses_writes_instead_of_what_a_start_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let (east, _) = open(&dir);
    east.lock().epoch = Epoch(EPOCH_LAST.0 - 1);
    add(&east, 1);
    east.lock().add(b"hits", 1).unwrap();
    let error = east.flush().unwrap_err().to_string();
    assert!(error.contains("no versions left"), "{error}");
    let refused = east.lock().add(b"hits", 1);
    assert!(matches!(refused, Err(OpError::Refused(_))));
    assert_eq!(hits(&east), 2, "reading goes on");
    drop(east);
    let (east, recovery) = open(&dir);
    assert_eq!(recovery.quarantined, [""; 0]);
    assert_eq!(hits(&east), 1);
}
