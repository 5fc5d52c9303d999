use std::fs;

use strait_tests::{Lab, Side};

use super::{carried_by, count_everywhere, sites};

/// Large packets vanish without a word once the link is up, as behind a tunnel whose ICMP is
/// filtered.
#[test]
fn large_packets_vanish() {
    let Some(lab) = Lab::new() else { return };
    let (east, west) = sites(&lab);
    count_everywhere(&east, &west, 20);
    for side in [Side::East, Side::West] {
        lab.drop_incoming(side, "meta l4proto udp meta length > 1280");
    }
    let noise: Vec<u8> = (0..3_000_000u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let file = east.data().join("noise");
    fs::write(&file, &noise).unwrap();
    let path = file.to_str().unwrap();
    east.must(&["push", "--quiet", path, "west:noise"]);
    assert_eq!(
        fs::read(west.data().join("bulk/east/noise")).unwrap(),
        noise
    );
    count_everywhere(&east, &west, 10);
    carried_by(&east, Some("quic"), 1);
}
