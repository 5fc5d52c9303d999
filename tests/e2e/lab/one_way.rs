use strait_tests::{Lab, Side};

use super::{assert_counted, carried_by, count_everywhere, sites};

/// Packets get through in one direction only: both ends must notice, whichever is deaf.
#[test]
fn a_cut_in_one_direction_is_noticed_by_both() {
    for deaf in [Side::East, Side::West] {
        let Some(lab) = Lab::new() else { return };
        let (east, west) = sites(&lab);
        count_everywhere(&east, &west, 20);
        lab.drop_incoming(deaf, "meta l4proto { tcp, udp }");
        carried_by(&east, None, 6);
        carried_by(&west, None, 6);
        lab.heal();
        count_everywhere(&east, &west, 10);
        assert_counted(&east, 2);
    }
}
