use strait_tests::{Lab, Side};

use super::{assert_counted, carried_by, count_everywhere, sites};

/// A little of UDP still gets through: too much for a dead connection, too little to live on.
#[test]
fn most_of_udp_is_lost() {
    let Some(lab) = Lab::new() else { return };
    let (east, west) = sites(&lab);
    count_everywhere(&east, &west, 20);
    carried_by(&east, Some("quic"), 1);
    for side in [Side::East, Side::West] {
        lab.drop_incoming(side, "meta l4proto udp numgen random mod 100 < 90");
    }
    carried_by(&east, Some("tcp"), 20);
    count_everywhere(&east, &west, 20);
    for site in [&east, &west] {
        assert_counted(site, 2);
    }
}
