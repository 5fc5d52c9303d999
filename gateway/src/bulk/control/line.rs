//! A command's connection to its gateway. It notices when the gateway hangs. Blocks.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::SocketPath;
use super::client::{ClientError, Gateway, incomprehensible};
use super::frame::Frame;
use super::protocol::{self, Ask, Opening, Request, VERSION, What};

/// A gateway that says nothing for so long is asked whether it is there, and has as long to answer.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A connection on which the gateway may be silent as long as it is there.
#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
    gateway: Gateway,
}

/// Reads and writes; waits for a gateway that is there, and no other.
#[derive(Debug)]
struct Patient<'a>(&'a Line);

impl Line {
    pub(super) fn send(&self, message: &impl Serialize) -> Result<(), ClientError> {
        self.write(&protocol::encode(message))
    }

    pub(super) fn write(&self, frame: &Frame) -> Result<(), ClientError> {
        let written = frame.write_to(Patient(self));
        written.map_err(|error| self.broken(&error))
    }

    pub(super) fn receive<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        protocol::decode(&self.read()?).ok_or_else(incomprehensible)
    }

    pub(super) fn read(&self) -> Result<Frame, ClientError> {
        Frame::read_from(Patient(self)).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &io::Error) -> ClientError {
        match error.kind() == io::ErrorKind::TimedOut {
            true => ClientError::Silent(self.gateway.silence_max),
            false => ClientError::Stopped,
        }
    }

    /// Whether a call is to be made again; an error if not, or if the gateway is not there.
    fn wait_on(&self, error: io::Error) -> io::Result<()> {
        if error.kind() == io::ErrorKind::Interrupted {
            return Ok(());
        }
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        if self.gateway.is_there() {
            return Ok(());
        }
        // Whoever else waits on this connection is not to wait on.
        self.stream.shutdown(Shutdown::Both).ok();
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.0.stream).read(bytes) {
                Ok(count) => return Ok(count),
                Err(error) => self.0.wait_on(error)?,
            }
        }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match (&self.0.stream).write(bytes) {
                Ok(count) => return Ok(count),
                Err(error) => self.0.wait_on(error)?,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gateway {
    /// A connection on which `what` was asked.
    pub(super) fn line(&self, site: String, path: String, what: What) -> Result<Line, ClientError> {
        let line = Line {
            stream: self.connect(self.silence_max)?,
            gateway: self.clone(),
        };
        line.send(&self.opening(site, path, what))?;
        Ok(line)
    }

    pub(super) fn opening(&self, site: String, path: String, what: What) -> Opening {
        let request = Request {
            site,
            path,
            wait_s: self.wait.as_secs(),
            what,
        };
        let version = VERSION;
        Opening { version, request }
    }

    /// A connection whose calls take at most so long each, the first one too.
    pub(super) fn connect(&self, timeout: Duration) -> Result<UnixStream, ClientError> {
        let connected = self.try_connect(timeout);
        connected.map_err(|source| match source.kind() == io::ErrorKind::WouldBlock {
            true => ClientError::Silent(timeout),
            false => self.unreachable(source),
        })
    }

    fn try_connect(&self, timeout: Duration) -> io::Result<UnixStream> {
        let path = SocketPath::of(&self.socket)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The queue in front of a gateway that hangs may be full.
        socket.set_write_timeout(Some(timeout))?;
        socket.set_read_timeout(Some(timeout))?;
        socket.connect(&SockAddr::unix(path.path())?)?;
        Ok(socket.into())
    }

    /// Whether the gateway answers at all. One that has closed its socket is not waited for, and says
    /// by itself that it ends.
    fn is_there(&self) -> bool {
        let nowhere = String::new();
        let opening = self.opening(nowhere.clone(), nowhere, What::Gateway(Ask::Alive));
        let answered = self.try_connect(self.silence_max).and_then(|stream| {
            protocol::encode(&opening).write_to(&stream)?;
            // A release that does not know the question says so.
            Frame::read_from(&stream)
        });
        !answered.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}
