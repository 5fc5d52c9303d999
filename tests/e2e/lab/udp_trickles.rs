use std::time::Duration;

use strait_tests::{Lab, Side, Site, eventually, eventually_equal_digests};

use super::{carried_by, sites};

/// Incompressible, so that it does not fit through a trickle.
const LINE_BYTES: usize = 1000;
const LINES: usize = 1000;

/// UDP is shaped to next to nothing one way, and TCP is not.
fn trickles(from: Side) -> Option<(Lab, Site, Site)> {
    let lab = Lab::new()?;
    let (east, west) = sites(&lab);
    lab.shape_udp(from, "200kbit");
    Some((lab, east, west))
}

#[test]
fn from_the_end_that_dialed() {
    let Some((_lab, east, west)) = trickles(Side::East) else {
        return;
    };
    eventually("it is noticed that little gets through", 60, || {
        write(&east);
        std::thread::sleep(Duration::from_secs(1));
        let log = east.log_text();
        log.contains("QUIC lets hardly anything through")
            .then_some(())
    });
    carried_by(&east, Some("tcp"), 5);
    eventually_equal_digests(&east, &west, 20);
}

#[test]
fn from_the_end_that_answered() {
    let Some((_lab, east, west)) = trickles(Side::West) else {
        return;
    };
    eventually("it is left for TCP", 60, || {
        write(&west);
        std::thread::sleep(Duration::from_secs(1));
        let link = east.link_status()?;
        (link["transport"] == "tcp").then_some(())
    });
    eventually_equal_digests(&east, &west, 20);
}

fn write(site: &Site) {
    let mut noise = 1_u64;
    let mut redis = site.redis();
    let mut pipe = redis::pipe();
    for _ in 0..LINES {
        let line: Vec<u8> = (0..LINE_BYTES)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (noise >> 56) as u8
            })
            .collect();
        pipe.cmd("XADD")
            .arg("noise")
            .arg("*")
            .arg("line")
            .arg(line)
            .ignore();
    }
    pipe.exec(&mut redis).unwrap();
}
