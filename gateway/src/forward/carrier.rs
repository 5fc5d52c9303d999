//! Sends one direction of a flow, over one stream after the other.

use bytes::Bytes;
use strait_transport::{Class, LinkHandle, OutStream, SendError};

use super::message::{Ending, FlowRequest};
use crate::streams::{FlowId, StreamOpen};

/// The outgoing direction of a flow. End it with [`Carrier::finish`] or
/// [`Carrier::abort`]: the peer waits for one or the other.
#[derive(Debug)]
pub(super) struct Carrier {
    link: LinkHandle,
    flow: FlowId,
    /// What opens the first stream.
    request: Option<FlowRequest>,
    stream: Option<OutStream>,
    sent: u64,
}

impl Carrier {
    /// The direction from the site that opened the flow.
    pub(super) fn opening(link: LinkHandle, request: FlowRequest) -> Self {
        Self {
            link,
            flow: request.flow,
            request: Some(request),
            stream: None,
            sent: 0,
        }
    }

    /// The direction back.
    pub(super) fn answering(link: LinkHandle, flow: FlowId) -> Self {
        Self {
            link,
            flow,
            request: None,
            stream: None,
            sent: 0,
        }
    }

    /// Bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends the next bytes as `class`. Cancelled, nothing of them was sent.
    pub(super) async fn send(&mut self, bytes: Bytes, class: Class) -> Result<(), SendError> {
        if self.must_move(class) {
            self.end(Ending::Moved).await?;
        }
        let len = bytes.len() as u64;
        self.stream(class)?.send(bytes, false).await?;
        self.sent += len;
        Ok(())
    }

    /// The direction ends here.
    pub(super) async fn finish(&mut self) -> Result<(), SendError> {
        self.stream(Class::Interactive)?;
        self.end(Ending::Finished).await
    }

    /// There is no rest. Does not wait for the link.
    pub(super) fn abort(mut self) {
        tokio::spawn(async move {
            // A session or stream that is over needs no ending.
            self.end(Ending::Aborted).await.ok();
        });
    }

    /// Away from bulk only when everything there has arrived: what comes after must not
    /// overtake megabytes.
    fn must_move(&self, class: Class) -> bool {
        let Some(stream) = &self.stream else {
            return false;
        };
        let now = stream.class();
        if class >= now {
            return class > now;
        }
        let ledger = stream.ledger();
        ledger.queued_batches + ledger.unacked_batches == 0
    }

    /// The stream to send on; opened if there is none.
    fn stream(&mut self, class: Class) -> Result<&mut OutStream, SendError> {
        if self.stream.is_none() {
            let (flow, offset) = (self.flow, self.sent);
            let request = self.request.take().map(StreamOpen::FlowOpen);
            let open = request.unwrap_or(StreamOpen::FlowData { flow, offset });
            self.stream = Some(self.link.open(class, open.encode())?);
        }
        self.stream.as_mut().ok_or(SendError::Closed)
    }

    async fn end(&mut self, ending: Ending) -> Result<(), SendError> {
        if let Some(stream) = &mut self.stream {
            stream
                .send(Bytes::copy_from_slice(&[ending as u8]), true)
                .await?;
        }
        self.stream = None;
        Ok(())
    }
}
