use std::time::Duration;

use strait_tests::{Lab, Side};

use super::{assert_counted, carried_by, count_everywhere, sites};

#[test]
fn udp_is_blocked_and_let_through_again() {
    let Some(lab) = Lab::new() else { return };
    lab.drop_incoming(Side::West, "meta l4proto udp");
    let (east, west) = sites(&lab);
    carried_by(&east, Some("tcp"), 3);
    count_everywhere(&east, &west, 10);
    lab.heal();
    carried_by(&east, Some("quic"), 8);
    count_everywhere(&east, &west, 10);
    let link = east.link_status().unwrap();
    assert_eq!(link["reconnects"], 0, "there was no gap: {link}");

    lab.drop_incoming(Side::East, "meta l4proto udp");
    let took = carried_by(&east, Some("tcp"), 6);
    assert!(took < Duration::from_secs(4), "{took:?}");
    count_everywhere(&east, &west, 10);
    for site in [&east, &west] {
        assert_counted(site, 3);
    }
}
