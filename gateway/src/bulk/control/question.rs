//! Questions to the gateway itself, on the command's side. Blocks.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::client::{ClientError, Gateway, incomprehensible, unexpected};
use super::frame::Frame;
use super::protocol::{self, Ask, Reply, What};

/// Longest answer to an [`Ask`]: more than the status of a gateway with the most peers there can be.
const TOLD_BYTES_MAX: usize = 16 << 20;

impl Gateway {
    /// Asks the gateway itself, which has so long to begin its answer.
    pub fn tell(&self, ask: Ask, timeout: Duration) -> Result<String, ClientError> {
        let stream = self.ask_gateway(ask, timeout)?;
        let mut told = Vec::new();
        loop {
            match read_frame(&stream, timeout)? {
                Frame::Data(piece) if told.len() + piece.len() <= TOLD_BYTES_MAX => {
                    told.extend_from_slice(&piece);
                }
                Frame::Data(_) => return Err(incomprehensible()),
                message @ Frame::Message(_) => {
                    expect(&message, &Reply::Told)?;
                    return String::from_utf8(told).map_err(|_| incomprehensible());
                }
            }
        }
    }

    /// A connection to the gateway's grid that speaks the Redis protocol.
    pub fn grid(&self, timeout: Duration) -> Result<UnixStream, ClientError> {
        let stream = self.ask_gateway(Ask::Grid, timeout)?;
        expect(&read_frame(&stream, timeout)?, &Reply::Speak)?;
        let unlimited = stream.set_write_timeout(None);
        unlimited.map_err(|source| self.unreachable(source))?;
        Ok(stream)
    }

    fn ask_gateway(&self, ask: Ask, timeout: Duration) -> Result<UnixStream, ClientError> {
        let stream = self.connect(timeout)?;
        let nowhere = String::new();
        let opening = self.opening(nowhere.clone(), nowhere, What::Gateway(ask));
        let sent = protocol::encode(&opening).write_to(&stream);
        sent.map_err(|error| broken(&error, timeout))?;
        Ok(stream)
    }
}

fn expect(frame: &Frame, expected: &Reply) -> Result<(), ClientError> {
    let reply: Reply = protocol::decode(frame).ok_or_else(incomprehensible)?;
    match reply == *expected {
        true => Ok(()),
        false => Err(unexpected(reply)),
    }
}

fn read_frame(stream: &UnixStream, timeout: Duration) -> Result<Frame, ClientError> {
    Frame::read_from(stream).map_err(|error| broken(&error, timeout))
}

fn broken(error: &io::Error, timeout: Duration) -> ClientError {
    match error.kind() == io::ErrorKind::WouldBlock {
        true => ClientError::Silent(timeout),
        false => ClientError::Stopped,
    }
}
