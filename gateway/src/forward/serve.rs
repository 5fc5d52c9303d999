//! The far end of a flow: connects to the target, if that is allowed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::allow::{self, AllowRule};
use super::carrier::Carrier;
use super::figures::Counters;
use super::flow::Flow;
use super::message::{FlowRequest, Refusal};
use super::peer::{Peer, Session};
use super::proxy_protocol;
use super::pump::Pump;
use super::socket;

/// How long a target may take to answer.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Serves one flow of the peer until it is over.
pub(super) async fn serve(
    allow: Arc<[AllowRule]>,
    peer: Arc<Peer>,
    session: Arc<Session>,
    flow: Arc<Flow>,
    request: FlowRequest,
) {
    let site = peer.link.site();
    let _open = peer.served.open();
    let connecting = connect(&allow, &request);
    let connected = tokio::select! {
        connected = connecting => connected,
        refusal = flow.over() => Err(refusal),
    };
    let ended = match connected {
        Ok(tcp) => {
            let carrier = Carrier::answering(peer.link.clone(), flow.id);
            let pump = Pump {
                peer: &peer,
                session: &session,
                flow,
                counters: &peer.served,
                class: request.class,
                patience: Duration::from_secs(request.patience_s.into()),
            };
            pump.run(tcp, carrier).await
        }
        Err(refusal) => {
            session.remove(flow.id);
            session.refuse(flow.id, refusal.clone());
            Err(refusal)
        }
    };
    if let Err(refusal) = ended {
        Counters::add(&peer.served.reset, 1);
        let target = crate::bulk::printable(&request.target);
        match refusal {
            Refusal::NotAllowed | Refusal::Unreachable(_) => {
                let more = peer.refusals.lock().is_due(Instant::now());
                if let Some(more) = more {
                    tracing::warn!(%site, target, %refusal, more, "a flow from the peer was refused");
                }
            }
            Refusal::Reset
            | Refusal::Busy
            | Refusal::LinkAway
            | Refusal::SessionReset
            | Refusal::Protocol => {
                tracing::debug!(%site, target, %refusal, "a flow from the peer was reset")
            }
        }
    }
}

async fn connect(allow: &[AllowRule], request: &FlowRequest) -> Result<TcpStream, Refusal> {
    let addresses = allow::resolve(allow, &request.target).await?;
    let connected = timeout(CONNECT_MAX, socket::connect(&addresses)).await;
    let connected =
        connected.map_err(|_| Refusal::Unreachable("no answer within 10 s".to_owned()))?;
    let mut tcp = connected.map_err(|error| Refusal::unreachable(&error))?;
    if let Some(listener) = request.proxied {
        let header = proxy_protocol::header(request.client, listener);
        let written = tcp.write_all(&header).await;
        written.map_err(|error| Refusal::unreachable(&error))?;
    }
    Ok(tcp)
}
