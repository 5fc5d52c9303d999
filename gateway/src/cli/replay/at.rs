//! Counters go back to a snapshot: written to the running gateway in its clients' protocol, over
//! its own socket, so that all sites follow.

use std::io;
use std::os::unix::net::UnixStream;

use super::super::output::say;
use super::{Globals, export, own};
use crate::grid::Image;
use crate::resp::blocking::Client;

/// Commands on their way at a time.
const PIPELINE_BYTES: u64 = 64 << 10;
/// How often what clients still wrote meanwhile is gone over again.
const ROUNDS: usize = 3;

/// What was written to go back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    set: u64,
    deleted: u64,
    compared: u64,
}

/// Says what is to be done, and with `yes` does it.
pub(super) fn replay(globals: &Globals, at_ms: u64, yes: bool) -> anyhow::Result<()> {
    let then = export::snapshot(globals, at_ms)?;
    let mut client = own::grid(globals)?;
    let mut done = Changes::default();
    for _ in 0..ROUNDS {
        // What is in memory goes to the journal, which is what is compared.
        client.call(&[b"WAITAOF", b"1", b"0", b"0"])?;
        let now = export::live(globals)?;
        if !yes {
            let needed = differences(&now, &then, |_| Ok(()))?;
            return say(format!(
                "to be as they were then, {} counters are to be set and {} deleted, of {}; with \
                 --yes they are\n",
                needed.set, needed.deleted, needed.compared
            ));
        }
        let changes = differences(&now, &then, |words| send(&mut client, words))?;
        client.flush()?;
        if changes.set + changes.deleted == 0 {
            return say(format!(
                "the counters are as they were then: {} set, {} deleted, {} compared\n",
                done.set, done.deleted, changes.compared
            ));
        }
        done.set += changes.set;
        done.deleted += changes.deleted;
    }
    anyhow::bail!("clients keep writing to what goes back: stop them, and run this again")
}

/// The commands that make `now` into `then`: first deletions, as a name may have become another
/// kind of thing.
fn differences(
    now: &Image,
    then: &Image,
    mut write: impl FnMut(&[&[u8]]) -> io::Result<()>,
) -> anyhow::Result<Changes> {
    let mut changes = Changes::default();
    now.counters(|key, field, _| {
        if then.counter(key, field).is_some() {
            return Ok(());
        }
        changes.deleted += 1;
        match field {
            None => write(&[b"DEL", key]),
            Some(field) => write(&[b"HDEL", key, field]),
        }
    })?;
    then.counters(|key, field, value| {
        changes.compared += 1;
        if now.counter(key, field) == Some(value) {
            return Ok(());
        }
        changes.set += 1;
        let value = value.to_string();
        match field {
            None => write(&[b"SET", key, value.as_bytes()]),
            Some(field) => write(&[b"HSET", key, field, value.as_bytes()]),
        }
    })?;
    Ok(changes)
}

fn send(client: &mut Client<UnixStream>, words: &[&[u8]]) -> io::Result<()> {
    client.queue(words);
    if client.pending_bytes() >= PIPELINE_BYTES {
        client.flush().map_err(io::Error::other)?;
    }
    Ok(())
}
