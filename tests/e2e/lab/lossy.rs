use strait_tests::{Lab, Side};

use super::{assert_counted, carried_by, count_everywhere, sites};

#[test]
fn one_packet_in_twenty_is_lost() {
    let Some(lab) = Lab::new() else { return };
    for side in [Side::East, Side::West] {
        lab.drop_incoming(side, "numgen random mod 100 < 5");
    }
    let (east, west) = sites(&lab);
    for _ in 0..3 {
        count_everywhere(&east, &west, 10);
    }
    assert_counted(&east, 3);
    assert_counted(&west, 3);
    carried_by(&east, Some("quic"), 1);
    let link = east.link_status().unwrap();
    assert_eq!(link["reconnects"], 0, "{link}");
}
