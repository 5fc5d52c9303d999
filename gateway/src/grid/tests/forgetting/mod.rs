//! Sites that make, delete, expire and set counters and forget those that are gone, against the same
//! sites that forget nothing: whatever happens, nobody sees a difference, and in the end nothing is left
//! of what was deleted. Both worlds take the same steps at the same times.
//!
//! A failure names its seed; `STRAIT_SIM_SEEDS=N` runs so many, `STRAIT_SIM_SEED=N` that one.

mod acts;
mod link;
mod site;
mod world;

use std::collections::BTreeSet;

use super::super::clock::simulated;
use super::super::forget::Rule;
use super::sites::{Random, SHAPES, number};
use acts::{Mood, draw};
use world::World;

/// Runs one seed with a world in which a rule does not hold, if one is named, beside one that forgets
/// nothing.
fn run_seed(seed: u64, broken: Option<Rule>) {
    let mut random = Random::new(seed);
    let shape = SHAPES[random.below(SHAPES.len())];
    let mut now_ms = 1_800_000_000_000;
    simulated::set(Some(now_ms));
    let mut worlds = [broken, Some(Rule::Forgets)].map(|broken| World::new(shape, broken));
    for place in 0..worlds[0].links.len() {
        let up = !random.one_in(4);
        worlds.iter_mut().for_each(|world| world.set_up(place, up));
    }
    let size = (worlds[0].sites.len(), worlds[0].links.len());
    let mood = Mood::draw(&mut random, size.1);
    let is_shown = number("STRAIT_SIM_SEED").is_some();
    for step in 0..250 {
        now_ms += 1000;
        let act = draw(&mut random, size, mood);
        let no = std::env::var("NO").unwrap_or_default();
        let act = match act {
            acts::Act::PutBack(site) if no.contains('p') => acts::Act::Forget(site),
            acts::Act::Lose(site) if no.contains('l') => acts::Act::Forget(site),
            other => other,
        };
        if is_shown {
            eprintln!("{step}: {act:?}");
        }
        worlds.iter_mut().for_each(|world| world.act(&act, now_ms));
        let [forgetting, keeping] = worlds.each_ref().map(World::seen);
        let is_told = matches!(act, acts::Act::Rounds(count) if count >= 6)
            && worlds[0].links.iter().all(|link| link.up);
        if is_told && !worlds.iter().any(World::sweeps) {
            assert_eq!(forgetting, keeping, "step {step}: {act:?}");
        }
    }
    now_ms += 1_000_000;
    worlds.iter_mut().for_each(|world| world.settle(now_ms));
    let [forgetting, keeping] = worlds.each_ref().map(World::seen);
    assert_eq!(forgetting, keeping, "in the end");
    let first = forgetting[0].clone();
    assert!(
        forgetting.iter().all(|seen| *seen == first),
        "{forgetting:?}"
    );
    for world in &worlds {
        let digests: BTreeSet<_> = world.sites.iter().map(|s| s.grid.digest().0).collect();
        assert_eq!(digests.len(), 1, "sites differ: {:#?}", world.held());
    }
    assert_eq!(worlds[0].left(), [""; 0], "nothing is kept");
    for site in &worlds[0].sites {
        assert_eq!(site.grid.stats().conflicts_total, 0);
    }
    simulated::set(None);
}

#[test]
fn sites_that_forget_show_what_sites_that_do_not_show() {
    if let Some(seed) = number("STRAIT_SIM_SEED") {
        return run_seed(seed, None);
    }
    let first = number("STRAIT_SIM_FIRST").unwrap_or(0);
    let seeds = first..first + number("STRAIT_SIM_SEEDS").unwrap_or(100);
    let fails = |seed: &u64| std::panic::catch_unwind(|| run_seed(*seed, None)).is_err();
    let failed: Vec<_> = seeds.filter(fails).collect();
    assert_eq!(failed, [0; 0], "STRAIT_SIM_SEED=n shows it again");
}

/// Seeds within which a broken rule is noticed; most are within 20.
const NOTICED_WITHIN: u64 = 2000;

/// Whether some seed fails when the rule does not hold.
fn is_noticed(rule: Rule) -> Option<u64> {
    let fails = |seed: &u64| std::panic::catch_unwind(|| run_seed(*seed, Some(rule))).is_err();
    (0..NOTICED_WITHIN).find(fails)
}

#[test]
fn a_rule_that_does_not_hold_is_noticed() {
    let is_asked = |rule: &Rule| {
        std::env::var("STRAIT_SIM_RULE").is_ok_and(|asked| asked == format!("{rule:?}"))
            || std::env::var("STRAIT_SIM_RULE").is_err()
    };
    for rule in Rule::ALL.into_iter().filter(is_asked) {
        let seed = is_noticed(rule);
        println!("{rule:?}: noticed by seed {seed:?}");
        assert!(
            seed.is_some(),
            "{rule:?} is not needed, or the simulation is blind"
        );
    }
}
