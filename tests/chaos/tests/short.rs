//! The short form of the chaos suite, and proof that its checker notices.

use redis::Commands;
use strait_chaos::plan::{Fault, Step};
use strait_chaos::{Plan, hold, play};
use strait_tests::Site;
use tempfile::TempDir;

/// A few faults that each take a second or two, in an order of their own.
fn short(seed: u64, faults: &[Fault]) -> Plan {
    let steps = faults.iter().map(|fault| Step {
        pause_ms: 400,
        fault: *fault,
    });
    let mut plan = Plan::calm(0);
    (plan.seed, plan.steps) = (seed, steps.collect());
    plan
}

#[test]
fn kills_power_cuts_and_cut_links_take_nothing_that_was_confirmed() {
    let faults = [
        Fault::Kill {
            site: 0,
            down_ms: 100,
        },
        Fault::Cut {
            link: 0,
            there: true,
            back: false,
        },
        Fault::PowerCut {
            site: 1,
            lives_ms: 5,
            down_ms: 0,
        },
        Fault::Heal,
        Fault::Clock {
            site: 0,
            ahead_s: -90,
        },
        Fault::PowerCut {
            site: 0,
            lives_ms: 0,
            down_ms: 200,
        },
        Fault::KillAll { down_ms: 0 },
    ];
    assert!(hold(&short(1001, &faults), false), "see above");
}

#[test]
fn damage_a_full_disk_and_a_lost_directory_take_nothing_that_peers_held() {
    let faults = [
        Fault::Flip {
            site: 1,
            bits: 2,
            alone: true,
        },
        Fault::FullDisk {
            site: 0,
            ms: 300,
            kill: true,
        },
        Fault::Burn {
            site: 0,
            settled: true,
        },
    ];
    assert!(hold(&short(1002, &faults), false), "see above");
}

/// What the checker says when this was done behind its back.
fn caught(tamper: impl Fn(&[&Site])) -> String {
    let folder = TempDir::with_prefix("strait-chaos-").expect("a temporary folder");
    let played = play(&Plan::calm(1500), folder.path(), &tamper);
    assert!(played.confirmed > 100, "{played:?}");
    played.violations.join("\n")
}

#[test]
fn the_checker_notices_one_trimmed_entry_and_one_wrong_sum() {
    let said = caught(|sites| {
        let mut east = sites[0].redis();
        let entries: usize = east.xlen("disk:log").expect("a log");
        let trim = redis::cmd("XTRIM")
            .arg("disk:log")
            .arg("MAXLEN")
            .arg(entries - 1)
            .clone();
        assert_eq!(trim.query::<i64>(&mut east).expect("it is trimmed"), 1);
        let () = sites[1].redis().incr("remote:own:0", 1).expect("it counts");
    });
    assert!(
        said.contains("a confirmed entry is lost: east's disk:log"),
        "{said}"
    );
    assert!(
        said.contains("an increment counts twice: remote:own:0"),
        "{said}"
    );
    assert_eq!(caught(|_| {}), "", "and all is well when nothing was done");
}
