//! Counters go back to a snapshot: written to the running gateway as any client would, so that
//! all sites follow.

use std::io;

use anyhow::Context;

use super::super::output::say;
use super::super::time::rfc3339;
use super::{Globals, export, status};
use crate::config;
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

pub(super) fn replay(globals: &Globals, at_ms: u64) -> anyhow::Result<()> {
    let then = export::snapshot(globals, at_ms)?;
    let mut client = connect(globals)?;
    let mut done = Changes::default();
    for _ in 0..ROUNDS {
        // What is in memory goes to the journal, which is what is compared.
        client.call(&[b"WAITAOF", b"1", b"0", b"0"])?;
        let now = export::live(globals)?;
        let changes = go_back(&now, &then, &mut client)?;
        if changes.set + changes.deleted == 0 {
            return say(format!(
                "the counters are as before {}: {} set, {} deleted, {} compared\n",
                rfc3339(at_ms),
                done.set,
                done.deleted,
                changes.compared
            ));
        }
        done.set += changes.set;
        done.deleted += changes.deleted;
    }
    anyhow::bail!("clients keep writing to what goes back: stop them, and run this again")
}

fn connect(globals: &Globals) -> anyhow::Result<Client> {
    let config = config::load(&globals.layout().config())?;
    let mut client = Client::connect(status::reachable(config.listen.grid))?;
    if let Some(password) = &config.grid.password {
        client
            .call(&[b"AUTH", password.reveal().as_bytes()])
            .context("the gateway has another password than its configuration")?;
    }
    Ok(client)
}

/// Writes what differs: first deletions, as a name may have become another kind of thing.
fn go_back(now: &Image, then: &Image, client: &mut Client) -> anyhow::Result<Changes> {
    let mut changes = Changes::default();
    now.counters(|key, field, _| {
        if then.counter(key, field).is_some() {
            return Ok(());
        }
        changes.deleted += 1;
        match field {
            None => send(client, &[b"DEL", key]),
            Some(field) => send(client, &[b"HDEL", key, field]),
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
            None => send(client, &[b"SET", key, value.as_bytes()]),
            Some(field) => send(client, &[b"HSET", key, field, value.as_bytes()]),
        }
    })?;
    client.flush()?;
    Ok(changes)
}

fn send(client: &mut Client, words: &[&[u8]]) -> io::Result<()> {
    client.queue(words);
    if client.pending_bytes() >= PIPELINE_BYTES {
        client.flush().map_err(io::Error::other)?;
    }
    Ok(())
}
