use strait_tests::{Lab, Side};

use super::{carried_by, count_everywhere, sites};

/// The dialing gateway gets another address: QUIC goes on over it (RFC 9000, section 9).
#[test]
fn a_site_moves_to_another_address() {
    let Some(lab) = Lab::new() else { return };
    let (east, west) = sites(&lab);
    count_everywhere(&east, &west, 20);
    lab.ip(
        Side::East,
        &["address", "add", "10.78.0.77/24", "dev", "wan"],
    );
    lab.ip(
        Side::East,
        &["address", "del", "10.78.0.1/24", "dev", "wan"],
    );
    // The first address takes all others of its network with it.
    lab.ip(
        Side::East,
        &["address", "replace", "10.78.0.77/24", "dev", "wan"],
    );
    count_everywhere(&east, &west, 10);
    carried_by(&east, Some("quic"), 1);
    let link = west.link_status().unwrap();
    assert_eq!(link["reconnects"], 0, "{link}");
    let address = link["peer_address"].as_str().unwrap();
    assert!(address.starts_with("10.78.0.77:"), "{address}");
}
