//! `strait pair`: each site learns the other's key.

use anyhow::Context;
use strait_transport::PublicKey;

use super::output::{say, tell};
use super::{Globals, init::parse_address, own};
use crate::config::{self, Config, PairToken, PeerChange, PeerEdit, Pin, fingerprint, put_peer};
use crate::datadir::read_identity;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The other site's token, as `strait pair` prints it there. Without: print ours
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// With TOKEN: where to reach the peer, instead of what its token says. Without: where
    /// peers reach us, instead of `listen.advertise`. May be given several times
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    address: Vec<String>,
    /// Accept a new key for a site that is a peer already, in place of the one it has
    #[arg(long, requires = "token")]
    replace: bool,
    /// Accept a new key for a site that is a peer already, beside the one it has
    #[arg(long, requires = "token", conflicts_with = "replace")]
    next: bool,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    match &args.token {
        None => print_token(globals, args.address),
        Some(token) => {
            let token = token.parse().context("cannot pair")?;
            add_peer(globals, token, &args)
        }
    }
}

fn print_token(globals: &Globals, address: Vec<String>) -> anyhow::Result<()> {
    let key = read_identity(&globals.layout())?.public_key();
    let token = token_of(globals, key, address)?;
    if token.addresses.is_empty() {
        tell!(
            "note: the token says no address, so only this site will dial. Where peers can reach \
             this one, add --address HOST:PORT or set listen.advertise."
        );
    }
    let short = fingerprint(&key);
    let site = &token.site;
    tell!("site {site}, key {short}. At the other site, run: strait pair TOKEN");
    say(format_args!("{token}\n"))
}

/// The token of this site with one of its keys.
pub(super) fn token_of(
    globals: &Globals,
    key: PublicKey,
    address: Vec<String>,
) -> anyhow::Result<PairToken> {
    let config = config::load_for(&globals.layout().config(), Some(key))?;
    let addresses = if address.is_empty() {
        own_addresses(&config)
    } else {
        address
    };
    Ok(PairToken {
        site: config.site,
        key,
        addresses,
    })
}

/// What the configuration says; else the address we listen on, if it is one.
fn own_addresses(config: &Config) -> Vec<String> {
    let listen = &config.listen;
    if listen.advertise.is_empty() && !listen.link.ip().is_unspecified() && listen.link.port() != 0
    {
        return vec![listen.link.to_string()];
    }
    listen.advertise.clone()
}

fn add_peer(globals: &Globals, token: PairToken, args: &Args) -> anyhow::Result<()> {
    let layout = globals.layout();
    let own_key = read_identity(&layout)?.public_key();
    let peer = PeerEdit {
        site: token.site,
        key: token.key,
        addresses: if args.address.is_empty() {
            token.addresses
        } else {
            args.address.clone()
        },
        pin: match (args.replace, args.next) {
            (true, _) => Pin::Replace,
            (false, true) => Pin::Next,
            (false, false) => Pin::Only,
        },
    };
    let change = put_peer(&layout.config(), own_key, &peer)?;
    say(outcome(globals, &peer, change))?;
    if change == PeerChange::Replaced && own::reload(globals)? {
        say("the running gateway has read it anew: see its log\n")?;
    }
    Ok(())
}

fn outcome(globals: &Globals, peer: &PeerEdit, change: PeerChange) -> String {
    let site = &peer.site;
    let file = globals.layout().config();
    let file = file.display();
    let mut text = match change {
        PeerChange::Added => format!("added peer {site} to {file}\n"),
        PeerChange::Replaced => format!("changed peer {site} in {file}\n"),
        PeerChange::Unchanged => format!("peer {site} is in {file} already, unchanged\n"),
    };
    let key = fingerprint(&peer.key);
    text += &format!("its key is {key}: compare it with what `strait pair` shows there\n");
    if peer.addresses.is_empty() {
        text += &format!("no address was given: unless the file has one, {site} has to dial\n");
    }
    if change == PeerChange::Added {
        let data = globals.data.display();
        text += &format!(
            "
next: pair the other way too, if that is not done yet, then (re)start the gateway:
  strait --data {data} pair     prints the token for {site}
  strait --data {data} run
"
        );
    }
    text
}
