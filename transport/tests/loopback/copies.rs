//! Two gateways with one key: a copy is told from a restart.

use std::time::Duration;

use strait_transport::Phase;
use tokio::time::{sleep, timeout};

use crate::site::{PATIENCE, Running, Site};

async fn refused(copy: &Running) {
    let refused = copy.link.refused_as_copy();
    timeout(PATIENCE, refused).await.expect("it is refused");
    let words = copy.link.status().refused_as_copy.unwrap();
    assert!(words.contains("this one is a copy"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_that_live_is_refused_and_the_first_notices_nothing() {
    for tcp in [false, true] {
        let (east, west) = (Site::new("east"), Site::new("west"));
        let mut west_runs = west.start(&east, None).await;
        let at = west_runs.node.local_addr();
        let start = async || match tcp {
            false => east.start(&west, Some(at)).await,
            true => east.start_over_tcp(&west, at).await,
        };
        let mut first = start().await;
        assert!(first.up().await && west_runs.up().await);
        let copy = start().await;
        refused(&copy).await;
        sleep(Duration::from_secs(1)).await;
        let [of_first, of_copy, of_west] =
            [&first, &copy, &west_runs].map(|site| site.link.status());
        assert_eq!((of_first.phase, of_first.reconnects), (Phase::Up, 0));
        assert_eq!((of_west.phase, of_west.reconnects), (Phase::Up, 0));
        assert_ne!(of_copy.phase, Phase::Up);
        assert_eq!(of_west.copies, 1, "it has not dialed again");
        // Once the first is gone for good the operator starts the other one again.
        first.node.close().await;
        copy.node.close().await;
        let mut again = start().await;
        assert!(again.up().await);
        assert_eq!(again.link.status().refused_as_copy, None);
        again.node.close().await;
        west_runs.node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_silent_and_comes_back_after_another_took_its_place_is_refused() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let mut west_runs = west.start(&east, None).await;
    let at = Some(west_runs.node.local_addr());
    let mut first = east.start(&west, at).await;
    assert!(first.up().await && west_runs.up().await);
    first.link.pause();
    let mut second = east.start(&west, at).await;
    assert!(second.up().await);
    first.link.resume();
    refused(&first).await;
    assert_eq!(second.link.status().phase, Phase::Up);
    for site in [first, second, west_runs] {
        site.node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_incarnations_of_one_site_take_turns() {
    let (east, west) = (Site::new("east"), Site::new("west"));
    let renewed = Site {
        name: east.name,
        identity: east.identity.clone(),
        incarnation: east.incarnation + 1,
    };
    let mut west_runs = west.start(&east, None).await;
    let at = Some(west_runs.node.local_addr());
    let mut first = east.start(&west, at).await;
    assert!(first.up().await && west_runs.up().await);
    let mut second = renewed.start(&west, at).await;
    assert!(second.up().await, "its turn comes");
    assert!(first.up().await, "and the other's again");
    for site in [&first, &second] {
        assert_eq!(site.link.status().refused_as_copy, None);
    }
    assert!(west_runs.link.status().copies > 0, "the operator is told");
    for site in [first, second, west_runs] {
        site.node.close().await;
    }
}
