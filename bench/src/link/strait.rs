//! strait's end: a node with one link, and batches that are sent as they are.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use strait_transport::{
    Class, Congestion, Identity, LinkEvent, LinkEvents, LinkHandle, Node, NodeConfig, PassThrough,
    PeerConfig, PublicKey,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::end::{CONTROL_BYTES, CONTROL_EVERY_MS, Counters, EndArguments, Received, Role};
use super::{Contender, PIECE_BYTES, clock};

async fn link(arguments: &EndArguments) -> anyhow::Result<(Node, LinkHandle, LinkEvents)> {
    let key = |name: &str| Identity::load(&arguments.keys.join(name));
    let (identity, peer, site, peer_site) = match arguments.role {
        Role::Send => (key("send")?, key("receive")?, "send", "receive"),
        Role::Receive => (key("receive")?, key("send")?, "receive", "send"),
    };
    let key: PublicKey = peer.public_key();
    let addresses = match arguments.role {
        Role::Send => vec![format!("{}:{}", arguments.peer, arguments.port)],
        Role::Receive => Vec::new(),
    };
    let rate_bits_s =
        (arguments.contender == Contender::StraitRate).then_some((arguments.rate * 1e6) as u64);
    let congestion = match arguments.contender {
        Contender::StraitCubic => Congestion::Cubic,
        Contender::Strait
        | Contender::StraitRate
        | Contender::QuinnBbr
        | Contender::TcpCubic
        | Contender::TcpBbr => Congestion::Strait,
    };
    let config = NodeConfig {
        site: site.parse()?,
        incarnation: 1,
        identity,
        listen: ([0, 0, 0, 0], arguments.port).into(),
        callers_from: Vec::new(),
        gso: true,
        peers: vec![PeerConfig {
            addresses,
            rate_bits_s,
            congestion,
            ..PeerConfig::new(peer_site.parse()?, key)
        }],
    };
    let (node, mut links) =
        Node::bind(config, |_| (Box::new(PassThrough), Box::new(PassThrough))).await?;
    let (handle, events) = links.pop().context("no link")?;
    Ok((node, handle, events))
}

#[tokio::main]
pub(super) async fn send(arguments: &EndArguments) -> anyhow::Result<()> {
    tokio::time::sleep(clock::until(arguments.start)).await;
    let (_node, handle, mut events) = link(arguments).await?;
    let sending = async {
        while !matches!(events.next().await, Some(LinkEvent::Up { .. })) {}
        let bulk = send_bulk(&handle, arguments);
        let control = send_control(&handle);
        tokio::try_join!(bulk, control).map(|_: ((), ())| ())
    };
    match timeout(clock::until(arguments.end()), sending).await {
        Ok(ended) => ended,
        // Time is up.
        Err(_) => {
            if std::env::var_os("STRAIT_BENCH_STATUS").is_some() {
                eprintln!("{:#?}", handle.status());
            }
            Ok(())
        }
    }
}

async fn send_bulk(handle: &LinkHandle, arguments: &EndArguments) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    rand::fill(&mut piece[..]);
    let mut stream = handle.open(Class::Bulk, Bytes::new())?;
    for number in 0_u64.. {
        arguments.until_due(number).await;
        piece[..8].copy_from_slice(&number.to_le_bytes());
        stream.send(Bytes::copy_from_slice(&piece), false).await?;
    }
    Ok(())
}

async fn send_control(handle: &LinkHandle) -> anyhow::Result<()> {
    let mut stream = handle.open(Class::Control, Bytes::new())?;
    let mut ticks = interval(Duration::from_millis(CONTROL_EVERY_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut message = vec![0; CONTROL_BYTES];
        message[..8].copy_from_slice(&clock::unix_nanos().to_le_bytes());
        stream.send(message.into(), false).await?;
    }
}

#[tokio::main]
pub(super) async fn receive(
    arguments: &EndArguments,
    counters: &Counters,
) -> anyhow::Result<Received> {
    let (_node, _handle, mut events) = link(arguments).await?;
    let receiving = async {
        while let Some(event) = events.next().await {
            if let LinkEvent::Batch(received) = event {
                match received.class {
                    Class::Bulk => counters.count_batch(&received.bytes),
                    Class::Control | Class::Interactive => counters.count_control(&received.bytes),
                }
                received.ack();
            }
        }
    };
    // It never ends by itself.
    drop(timeout(clock::until(arguments.end()), receiving).await);
    counters.report()
}
