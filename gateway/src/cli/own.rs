//! The gateway of the data directory, asked over the socket in it. A port of the configuration says
//! nothing of who listens there: it may be the gateway of another directory.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use strait_transport::SiteName;

use super::Globals;
use crate::bulk::control::Ask;
use crate::bulk::control::client::{ClientError, Gateway};
use crate::datadir::check_format;
use crate::observe::Status;
use crate::resp::blocking::Client;

/// For what is answered at once.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Both sites read their whole grid.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(3600);
/// One pipeline of the grid's replies.
const GRID_TIMEOUT: Duration = Duration::from_secs(60);

fn gateway(globals: &Globals) -> anyhow::Result<Gateway> {
    let layout = globals.layout();
    check_format(&layout)?;
    Ok(Gateway::new(&layout.socket(), Duration::ZERO))
}

/// Its status document, as JSON.
pub(super) fn status_json(globals: &Globals) -> anyhow::Result<String> {
    Ok(gateway(globals)?.tell(Ask::Status, TIMEOUT)?)
}

/// Its status.
pub(super) fn status(globals: &Globals) -> anyhow::Result<Status> {
    read_status(&status_json(globals)?)
}

/// A status document, if it is one of this release.
pub(super) fn read_status(json: &str) -> anyhow::Result<Status> {
    serde_json::from_str(json).context(
        "the gateway's answer is not the status of this release: update this command or restart \
         the gateway, or use --json",
    )
}

/// Has it compare all counters and logs with those at `site`; what it found, as JSON.
pub(super) fn compare(globals: &Globals, site: &SiteName) -> anyhow::Result<String> {
    let site = site.to_string();
    Ok(gateway(globals)?.tell(Ask::Compare { site }, COMPARE_TIMEOUT)?)
}

/// Has it read keys and peers anew. False: none runs.
pub(super) fn reload(globals: &Globals) -> anyhow::Result<bool> {
    match gateway(globals)?.tell(Ask::Reload, TIMEOUT) {
        Ok(_) => Ok(true),
        Err(ClientError::NotRunning { .. }) => Ok(false),
        Err(error) => Err(error).context("the running gateway did not read keys and peers anew"),
    }
}

/// A connection to its grid. No password: the gateway lets nobody but its owner and root in there.
pub(super) fn grid(globals: &Globals) -> anyhow::Result<Client<UnixStream>> {
    Ok(Client::over(gateway(globals)?.grid(GRID_TIMEOUT)?))
}
