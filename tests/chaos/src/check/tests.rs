//! Each rule of the checker, with a history that breaks it and one that just does not.

use std::time::Duration;

use super::check;
use crate::history::{
    Class, Confirmed, Death, Effect, End, History, Id, Life, Read, Register, Settled, Write,
};
use crate::state::{Line, State};

const EAST: Life = Life { site: 0, number: 1 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn write(class: Class, effect: Effect, at: u64, id: Option<Id>) -> Write {
    let confirmed = Some(Confirmed { at: ms(at), id });
    Write {
        life: EAST,
        class,
        effect,
        confirmed,
    }
}

fn added(class: Class, amount: i64, at: u64) -> Write {
    let key = "key".to_owned();
    write(class, Effect::Add { key, amount }, at, None)
}

fn appended(class: Class, n: u64, id: Id, at: u64) -> Write {
    write(class, Effect::Line { n }, at, Some(id))
}

fn history(writes: Vec<Write>) -> History {
    History {
        sites: vec!["east".to_owned(), "west".to_owned()],
        clients: vec![writes],
        window: ms(1000),
        ..History::default()
    }
}

fn ended(mut history: History, how: End) -> History {
    history.deaths.push(Death {
        life: EAST,
        at: ms(10_000),
        how,
    });
    history
}

fn line(id: Id, n: u64) -> Line {
    Line {
        id,
        n,
        intact: true,
    }
}

fn counter(value: i64) -> State {
    let mut state = State::default();
    state.counters.insert("key".to_owned(), value);
    state
}

fn log(class: Class, lines: &[(Id, u64)]) -> State {
    let mut state = State::default();
    let lines = lines.iter().map(|(id, n)| line(*id, *n)).collect();
    state.logs.insert((0, class.name()), lines);
    state
}

/// What both sites' equal state comes to.
fn found(history: &History, state: State) -> String {
    check(history, &[state.clone(), state]).join("\n")
}

#[track_caller]
fn assert_found(history: &History, state: State, what: &str) {
    let found = found(history, state);
    assert!(found.contains(what), "{found:?}");
}

#[test]
fn a_counter_lies_between_what_survives_and_what_was_tried() {
    let mut unknown = added(Class::Disk, 2, 0);
    unknown.confirmed = None;
    let history = ended(
        history(vec![added(Class::Disk, 5, 1), unknown]),
        End::Killed,
    );
    assert_found(&history, counter(4), "a confirmed increment is lost");
    assert_found(&history, counter(8), "an increment counts twice");
    assert_eq!(found(&history, counter(5)), "");
    assert_eq!(found(&history, counter(7)), "");
}

#[test]
fn sites_hold_the_same() {
    let history = history(vec![added(Class::Memory, 1, 1)]);
    let said = check(&history, &[counter(1), counter(0)]).join("\n");
    assert!(said.contains("sites differ: key is 1 at east"), "{said}");
}

#[test]
fn memory_loses_no_more_than_its_window_before_a_kill() {
    let writes = vec![
        added(Class::Memory, 1, 4000),
        added(Class::Memory, 1, 4500),
        added(Class::Memory, 1, 5200),
    ];
    let killed = ended(history(writes.clone()), End::Killed);
    assert_eq!(found(&killed, counter(1)), "", "the two of the last second");
    assert_found(&killed, counter(0), "a confirmed increment is lost");
    let stopped = ended(history(writes), End::Stopped);
    assert_found(&stopped, counter(2), "a confirmed increment is lost");
}

#[test]
fn disk_outlives_a_kill_and_remote_a_fire() {
    for (class, how, lost) in [
        (Class::Disk, End::Killed, true),
        (Class::Disk, End::Burnt, false),
        (Class::Remote, End::Burnt, true),
        (Class::Remote, End::Flipped, true),
    ] {
        let history = ended(history(vec![added(class, 1, 9999)]), how);
        let found = found(&history, counter(0));
        assert_eq!(!found.is_empty(), lost, "{class:?} {how:?}: {found}");
    }
}

#[test]
fn wait_makes_of_memory_what_it_says_for_what_came_before() {
    let writes = vec![added(Class::Memory, 1, 9000), added(Class::Memory, 1, 9500)];
    let mut history = ended(history(writes), End::Burnt);
    let settled = Settled {
        life: EAST,
        at: ms(9200),
        class: Class::Remote,
    };
    history.settled.push(settled);
    assert_eq!(found(&history, counter(1)), "");
    assert_found(&history, counter(0), "a confirmed increment is lost");
}

#[test]
fn a_counter_that_was_set_is_one_of_what_it_can_be() {
    let mut history = history(Vec::new());
    let key = "key".to_owned();
    history.registers.push(Register {
        key,
        possible: vec![3, 7],
    });
    assert_eq!(found(&history, counter(7)), "");
    assert_found(&history, counter(10), "a counter that was set is wrong");
}

#[test]
fn entries_are_there_once_in_order_and_as_sent() {
    let class = Class::Disk;
    let writes = vec![
        appended(class, 1, (10, 0), 1),
        appended(class, 2, (20, 0), 2),
    ];
    let history = ended(history(writes), End::Killed);
    assert_eq!(
        found(&history, log(class, &[((10, 0), 1), ((20, 0), 2)])),
        ""
    );
    for (lines, what) in [
        (&[((10, 0), 1)][..], "a confirmed entry is lost"),
        (&[((10, 0), 2), ((20, 0), 2)], "an id has two contents"),
        (
            &[((10, 0), 1), ((20, 0), 2), ((30, 0), 2)],
            "an entry is there twice",
        ),
        (&[((20, 0), 2), ((10, 0), 1)], "ids do not rise"),
        (
            &[((10, 0), 1), ((20, 0), 2), ((30, 0), 9)],
            "an entry is not as any client sent it",
        ),
    ] {
        assert_found(&history, log(class, lines), what);
    }
    let mut state = log(class, &[((10, 0), 1), ((20, 0), 2)]);
    state.logs.values_mut().next().expect("a log")[0].intact = false;
    assert_found(&history, state, "an entry is not as any client sent it");
}

#[test]
fn an_id_is_told_once_and_ids_rise() {
    let class = Class::Memory;
    let writes = vec![
        appended(class, 1, (10, 0), 1),
        appended(class, 2, (10, 0), 2),
    ];
    let history = ended(history(writes), End::Killed);
    let state = log(class, &[((10, 0), 2)]);
    assert_found(&history, state.clone(), "an id goes back");
    assert_found(&history, state, "an id has two contents");
}

#[test]
fn what_memory_loses_is_the_end_of_a_life() {
    let class = Class::Memory;
    let writes = vec![
        appended(class, 1, (10, 0), 1),
        appended(class, 2, (20, 0), 2),
    ];
    let history = ended(history(writes), End::Killed);
    assert_eq!(found(&history, log(class, &[((10, 0), 1)])), "");
    let state = log(class, &[((20, 0), 2)]);
    assert_found(&history, state, "a later entry survives a lost one");
}

#[test]
fn a_read_had_everything_and_a_peer_knows_nothing_that_goes() {
    let class = Class::Disk;
    let ids = [(10, 0), (20, 0), (30, 0)];
    let writes = (1..)
        .zip(ids)
        .map(|(n, id)| appended(class, n, id, n))
        .collect();
    let mut history = history(writes);
    let mut read = Read {
        life: EAST,
        at: ms(5),
        origin: 0,
        class,
        after: (0, 0),
        lines: vec![((10, 0), 1), ((30, 0), 3)],
    };
    let all = log(class, &[((10, 0), 1), ((20, 0), 2), ((30, 0), 3)]);
    history.reads = vec![read.clone()];
    assert_found(
        &history,
        all.clone(),
        "a read was short, and nothing said so",
    );
    // A fire took them: the rebuilt site, its clock set back, may have put another in between.
    let burnt = ended(history.clone(), End::Burnt);
    assert!(!found(&burnt, all.clone()).contains("a read was short"));
    // What is not on disk here may go, what a peer has seen may not.
    read.lines = vec![((10, 0), 1), ((20, 0), 2), ((30, 0), 3), ((40, 0), 4)];
    history.reads = vec![read.clone()];
    assert_eq!(found(&history, all.clone()), "");
    read.life = Life { site: 1, number: 1 };
    history.reads = vec![read];
    assert_found(&history, all, "an entry that a peer had is gone");
}
