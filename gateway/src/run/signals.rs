//! The gateway as a process: what it does at which signal, and what it tells systemd.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Gateway;
use super::local::Reload;
use crate::config::Config;
use crate::datadir::DataDir;

/// Runs a gateway until SIGINT or SIGTERM. SIGHUP makes it read keys and peers anew.
pub fn run_until_signal(dir: DataDir, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // Locked until the process ends, also by a start that is given up half-way.
    let dir = Arc::new(dir);
    let ran = runtime.block_on(until_signal(dir.clone(), config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ran
}

async fn until_signal(dir: Arc<DataDir>, config: Config) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (version, site) = (env!("CARGO_PKG_VERSION"), config.site.clone());
    info!(version, %site, data = %dir.layout().root().display(), "starting");
    let mut start = pin!(Gateway::start(dir, config));
    let mut gateway: Option<Gateway> = None;
    let mut reloads = None;
    loop {
        tokio::select! {
            started = &mut start, if gateway.is_none() => {
                let started = gateway.insert(started?);
                reloads = started.reloads.take();
                tell_systemd(NotifyState::Ready);
                continue;
            }
            _ = interrupt.recv() => info!("SIGINT: stopping"),
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = hangup.recv() => {
                // A start reads everything anyway.
                if let Some(gateway) = &gateway {
                    // Told in the log.
                    gateway.reload("SIGHUP").await.ok();
                }
                continue;
            }
            order = next(&mut reloads) => {
                if let Some(gateway) = &gateway {
                    let outcome = gateway.reload("strait reload").await;
                    // The command may have gone.
                    order.send(outcome).ok();
                }
                continue;
            }
        }
        tell_systemd(NotifyState::Stopping);
        match gateway {
            Some(gateway) => return gateway.stop().await,
            None => {
                info!("stopped before everything was read");
                return Ok(());
            }
        }
    }
}

/// The next order to read keys and peers anew.
async fn next(reloads: &mut Option<mpsc::Receiver<Reload>>) -> Reload {
    let Some(reloads) = reloads else {
        return pending().await;
    };
    match reloads.recv().await {
        Some(order) => order,
        None => pending().await,
    }
}

/// Does nothing where systemd did not start us, or does not wait to be told (`Type=notify`).
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell systemd");
    }
}
