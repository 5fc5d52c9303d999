//! What is wrong only together: ports that collide, peers that are the same, doors that
//! stand open.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use strait_transport::{PublicKey, SiteName};

use super::errors::{Fault, Report};
use super::quantity::ByteSize;
use super::resolved::{GridSettings, HistorySettings, ListenSettings};
use super::section::Located;
use crate::resp::{Endpoint, User};

/// Where the file says what; the start of the file for what it leaves to the default.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) own_site: Option<Located<SiteName>>,
    pub(super) own_key: Option<PublicKey>,
    pub(super) grid: Range<usize>,
    pub(super) http: Range<usize>,
    pub(super) history_memory: Range<usize>,
    pub(super) history_disk: Range<usize>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) peers: Vec<PeerPlace>,
    pub(super) forwards: Vec<ForwardPlace>,
    /// Sites that folders go to.
    pub(super) syncs: Vec<Located<SiteName>>,
}

#[derive(Debug)]
pub(super) struct PeerPlace {
    pub(super) site: Located<SiteName>,
    /// All that are pinned, the present one first.
    pub(super) keys: Vec<Located<PublicKey>>,
}

#[derive(Debug)]
pub(super) struct ForwardPlace {
    pub(super) listen: Located<SocketAddr>,
    pub(super) peer: Located<SiteName>,
}

pub(super) fn listen(
    listen: &ListenSettings,
    grid: &GridSettings,
    places: &Places,
    report: &mut Report<'_>,
) {
    for (n, endpoint) in listen.grid.iter().enumerate() {
        listener(endpoint, listen, places, report);
        if let Some(twin) = listen.grid[..n].iter().find(|other| same(endpoint, other)) {
            let what = format!("listen.grid names {twin} and {endpoint}");
            let remedy = "give one of them another port or path";
            report.add(places.grid.clone(), Fault::new(what, remedy));
        }
        if is_open(endpoint, grid) {
            let what = format!("listen.grid {endpoint} is open to all who reach it");
            let remedy =
                "use 127.0.0.1, or set password = \"…\" in [grid], and none of its users nopass";
            report.add(places.grid.clone(), Fault::new(what, remedy));
        }
        if endpoint.is_tls() && grid.tls.is_none() {
            let what = format!("listen.grid {endpoint} has no certificate");
            let remedy = "say which files hold it and its key, as cert and key in [grid.tls]";
            report.add(places.grid.clone(), Fault::new(what, remedy));
        }
    }
    if collide(listen.link, listen.http) {
        takes_links_port("http", listen.http, &places.http, report);
    }
    if !listen.http.ip().is_loopback() && !listen.http_allow_remote {
        let what = format!(
            "listen.http {} is not on loopback, and has no password",
            listen.http
        );
        let remedy = "use 127.0.0.1, or set http_allow_remote = true in [listen] if the network \
                      between is yours";
        report.add(places.http.clone(), Fault::new(what, remedy));
    }
}

/// Whether whoever reaches a listener beyond loopback may do what clients do.
fn is_open(endpoint: &Endpoint, grid: &GridSettings) -> bool {
    let beyond = |address: SocketAddr| !address.ip().is_loopback();
    let needs_certificate =
        endpoint.is_tls() && (grid.tls.as_ref()).is_some_and(|tls| tls.client_ca.is_some());
    let mut users = grid.users.iter().map(|user| &user.user);
    let default_is_open = grid.password.is_none() && grid.users.is_empty();
    let lets_in = default_is_open || users.any(User::is_open);
    endpoint.address().is_some_and(beyond) && lets_in && !needs_certificate
}

/// A listener of the grid takes no port of the others.
fn listener(
    endpoint: &Endpoint,
    listen: &ListenSettings,
    places: &Places,
    report: &mut Report<'_>,
) {
    let Some(address) = endpoint.address() else {
        return;
    };
    if collide(address, listen.http) {
        let place = if places.http.is_empty() {
            &places.grid
        } else {
            &places.http
        };
        let what = format!(
            "listen.grid and listen.http are both TCP port {}",
            listen.http.port()
        );
        report.add(
            place.clone(),
            Fault::new(what, "give one of them another port"),
        );
    }
    if collide(listen.link, address) {
        takes_links_port("grid", address, &places.grid, report);
    }
}

fn takes_links_port(
    name: &str,
    address: SocketAddr,
    place: &Range<usize>,
    report: &mut Report<'_>,
) {
    let port = address.port();
    let what = format!("listen.link and listen.{name} are both TCP port {port}");
    let fault = Fault::new(what, "give one of them another port: links use TCP too");
    report.add(place.clone(), fault);
}

fn same(one: &Endpoint, other: &Endpoint) -> bool {
    match (one.address(), other.address()) {
        (Some(one), Some(other)) => collide(one, other),
        _ => one == other,
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    same_ip && a.port() == b.port() && a.port() != 0
}

pub(super) fn peers(places: &Places, report: &mut Report<'_>) {
    for (n, peer) in places.peers.iter().enumerate() {
        let site = &peer.site.value;
        if places
            .own_site
            .as_ref()
            .is_some_and(|own| own.value == *site)
        {
            let what = format!("peer {site} has this site's own name");
            let remedy = "each site needs a name of its own; a peer is another site";
            report.add(peer.site.span.clone(), Fault::new(what, remedy));
        }
        for key in &peer.keys {
            if places.own_key == Some(key.value) {
                let what = format!("peer {site} has this site's own key");
                let remedy = "run `strait pair` at the other site and add the token printed there";
                report.add(key.span.clone(), Fault::new(what, remedy));
            }
        }
        let earlier = &places.peers[..n];
        if let Some(twin) = earlier.iter().find(|other| other.site.value == *site) {
            let line = report.line_of(twin.site.span.start);
            let what = format!("peer {site} is already in line {line}");
            report.add(
                peer.site.span.clone(),
                Fault::new(what, "keep one [[peer]] for each site"),
            );
        }
        for key in &peer.keys {
            let has_it = |other: &&PeerPlace| other.keys.iter().any(|k| k.value == key.value);
            if let Some(twin) = earlier.iter().find(has_it) {
                let what = format!("peer {site} has the key of peer {}", twin.site.value);
                let remedy =
                    "each site has a key of its own: compare them with `strait pair` there";
                report.add(key.span.clone(), Fault::new(what, remedy));
            }
        }
    }
}

/// What the history of one link needs at least: tables, and blocks and segments to work with.
pub(super) const HISTORY_MEMORY_BYTES_MIN: u64 = 16 << 20;
pub(super) const HISTORY_DISK_BYTES_MIN: u64 = 128 << 20;

/// The caps are divided among the peers.
pub(super) fn history(
    history: &HistorySettings,
    peers: usize,
    places: &Places,
    report: &mut Report<'_>,
) {
    let settings = [
        (
            "memory",
            history.memory_bytes_max,
            HISTORY_MEMORY_BYTES_MIN,
            &places.history_memory,
        ),
        (
            "disk",
            history.disk_bytes_max,
            HISTORY_DISK_BYTES_MIN,
            &places.history_disk,
        ),
    ];
    for (name, bytes_max, each, place) in settings {
        let least = each.saturating_mul(peers as u64);
        if bytes_max < least {
            let (each, least) = (ByteSize(each), ByteSize(least));
            let what = format!("history.{name}_bytes_max is too small for {peers} peers");
            let remedy = format!("each peer takes {each}: use \"{least}\" or more");
            report.add(place.clone(), Fault::new(what, remedy));
        }
    }
}

/// Every forward goes to a peer, and has an address of its own.
pub(super) fn forwards(places: &Places, report: &mut Report<'_>) {
    let mut taken = places.listeners.clone();
    for ForwardPlace { listen, peer } in &places.forwards {
        is_peer(peer, "forward.peer", places, report);
        if taken.iter().any(|&other| collide(other, listen.value)) {
            let what = format!(
                "forward.listen {} is taken by another listener",
                listen.value
            );
            let remedy = "give it a port of its own";
            report.add(listen.span.clone(), Fault::new(what, remedy));
        }
        taken.push(listen.value);
    }
}

/// Every watched folder goes to a peer.
pub(super) fn syncs(places: &Places, report: &mut Report<'_>) {
    for site in &places.syncs {
        is_peer(site, "sync.to", places, report);
    }
}

fn is_peer(site: &Located<SiteName>, key: &str, places: &Places, report: &mut Report<'_>) {
    let name = &site.value;
    if !places.peers.iter().any(|peer| peer.site.value == *name) {
        let what = format!("{key}: {name} is no peer");
        let remedy = "add it with `strait pair TOKEN`, or correct the name";
        report.add(site.span.clone(), Fault::new(what, remedy));
    }
}

/// A peer writes files under `dir`: it must hold nothing of ours. `base` is the data
/// directory.
pub(super) fn bulk_dir(dir: &Path, base: &Path, place: Range<usize>, report: &mut Report<'_>) {
    let holds_ours = base.starts_with(dir);
    let in_a_room = [base.join("grid"), base.join("history")]
        .iter()
        .any(|room| dir.starts_with(room));
    if holds_ours || in_a_room {
        let what = format!("bulk.dir {} holds the gateway's own files", dir.display());
        let remedy = "name a directory for files alone, like \"bulk\"";
        report.add(place, Fault::new(what, remedy));
    }
}
