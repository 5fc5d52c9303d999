//! Questions to the gateway itself: status, comparisons, and its grid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::protocol::{Ask, Reply};
use super::server::Client;
use crate::bulk::failure::Failure;

/// The answer crosses in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// The gateway, as commands of its own data directory see it.
pub trait Local: Send + Sync + 'static {
    /// Answers, or says why it cannot. [`Ask::Grid`] is none of its questions.
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<String, String>>;

    /// Where its grid listens.
    fn grid_address(&self) -> SocketAddr;
}

/// Answers one question.
pub(super) async fn answer(local: &dyn Local, mut client: Client, ask: Ask) -> Result<(), Failure> {
    let acts = matches!(ask, Ask::Reload | Ask::Grid);
    if acts && !client.is_owner() {
        let reason = "only the user that the gateway runs as, and root, may ask this of it";
        return client.reply(&Reply::Refused(reason.to_owned())).await;
    }
    if ask == Ask::Grid {
        return speak(client, local.grid_address()).await;
    }
    match local.ask(ask).await {
        Ok(text) => {
            let mut text = Bytes::from(text);
            while !text.is_empty() {
                let piece = text.split_to(text.len().min(PIECE_BYTES));
                client.send_data(piece).await?;
            }
            client.reply(&Reply::Told).await
        }
        Err(reason) => client.reply(&Reply::Refused(reason)).await,
    }
}

/// Connects a command to our own grid, whose port nobody else can have while we listen there.
async fn speak(mut client: Client, grid: SocketAddr) -> Result<(), Failure> {
    let mut grid = match TcpStream::connect(reachable(grid)).await {
        Ok(grid) => grid,
        Err(error) => {
            let reason = format!("the grid does not answer at {grid}: {error}");
            return client.reply(&Reply::Refused(reason)).await;
        }
    };
    client.reply(&Reply::Speak).await?;
    let mut stream = client.into_stream().map_err(Failure::protocol)?;
    // Whichever end leaves, the other sees it.
    let _bytes = copy_bidirectional(&mut stream, &mut grid).await;
    Ok(())
}

/// A gateway that listens everywhere is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_that_listens_everywhere_is_reached_on_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:6390"), "127.0.0.1:6390");
        assert_eq!(reached("[::]:6390"), "[::1]:6390");
        assert_eq!(reached("10.0.0.1:6390"), "10.0.0.1:6390");
    }
}
