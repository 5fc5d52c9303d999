use std::thread::sleep;
use std::time::Duration;

use strait_tests::Lab;

use super::{assert_counted, carried_by, count_everywhere, sites};

/// A peer that stands still (a paused virtual machine, a stuck disk) is told from a slow one
/// within five seconds, and taken back when it moves on.
#[test]
fn a_frozen_peer_is_noticed_and_taken_back() {
    let Some(lab) = Lab::new() else { return };
    let (east, west) = sites(&lab);
    count_everywhere(&east, &west, 20);
    west.signal("STOP");
    // One more second for the gateway to be asked.
    carried_by(&east, None, 6);
    sleep(Duration::from_secs(1));
    west.signal("CONT");
    carried_by(&east, Some("quic"), 8);
    count_everywhere(&east, &west, 10);
    assert_counted(&east, 2);
    assert_counted(&west, 2);
}
