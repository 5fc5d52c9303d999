//! Questions to the gateway itself: status, comparisons, and its grid.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;

use super::protocol::{Ask, Reply};
use super::server::Client;
use crate::bulk::failure::Failure;

/// The answer crosses in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// The gateway, as commands of its own data directory see it.
pub trait Local: Send + Sync + 'static {
    /// Answers, or says why it cannot. [`Ask::Alive`] and [`Ask::Grid`] are none of its questions.
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<String, String>>;

    /// A connection to its grid, trusted with everything.
    fn connect_grid(&self) -> BoxFuture<'static, io::Result<UnixStream>>;
}

/// Answers one question.
pub(super) async fn answer(local: &dyn Local, mut client: Client, ask: Ask) -> Result<(), Failure> {
    if is_for_owner(&ask) && !client.is_owner() {
        let reason = "only the user that the gateway runs as, and root, may ask this of it";
        return client.reply(&Reply::Refused(reason.to_owned())).await;
    }
    match ask {
        Ask::Alive => return client.reply(&Reply::Told).await,
        Ask::Grid => return speak(client, local.connect_grid().await).await,
        Ask::Status | Ask::Compare { .. } | Ask::Reload => {}
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

/// Members of `bulk.group` may use files and see the status. A comparison costs the link and names
/// counters and logs.
fn is_for_owner(ask: &Ask) -> bool {
    match ask {
        Ask::Compare { .. } | Ask::Reload | Ask::Grid => true,
        Ask::Alive | Ask::Status => false,
    }
}

/// Connects a command to our own grid.
async fn speak(mut client: Client, grid: io::Result<UnixStream>) -> Result<(), Failure> {
    let mut grid = match grid {
        Ok(grid) => grid,
        Err(error) => {
            let reason = format!("the grid does not answer: {error}");
            return client.reply(&Reply::Refused(reason)).await;
        }
    };
    client.reply(&Reply::Speak).await?;
    let mut stream = client.into_stream().map_err(Failure::protocol)?;
    // Whichever end leaves, the other sees it.
    let _bytes = copy_bidirectional(&mut stream, &mut grid).await;
    Ok(())
}
