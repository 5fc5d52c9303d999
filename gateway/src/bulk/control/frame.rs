//! Frames on the control socket: length (4 bytes, little-endian), kind, payload.

use std::io::{self, Read, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use strait_transport::BATCH_BYTES_MAX;
use tokio_util::codec::{Decoder, Encoder};

/// Longest payload.
const PAYLOAD_BYTES_MAX: usize = BATCH_BYTES_MAX;
const HEADER_BYTES: usize = 5;
const KIND_MESSAGE: u8 = 0;
const KIND_DATA: u8 = 1;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// JSON.
    Message(Bytes),
    /// Bytes of a file.
    Data(Bytes),
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u8,
    length: usize,
}

/// For tokio's side of the socket.
#[derive(Debug)]
pub(super) struct FrameCodec;

/// Bytes that are no frame.
fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("control socket: {what}"),
    )
}

impl Header {
    fn parse(bytes: [u8; HEADER_BYTES]) -> io::Result<Self> {
        let [a, b, c, d, kind] = bytes;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(malformed("a frame too long"));
        }
        Ok(Self { kind, length })
    }

    fn of(frame: &Frame) -> io::Result<[u8; HEADER_BYTES]> {
        let (kind, payload) = match frame {
            Frame::Message(payload) => (KIND_MESSAGE, payload),
            Frame::Data(payload) => (KIND_DATA, payload),
        };
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(malformed("a frame too long to send"));
        }
        let [a, b, c, d] = (payload.len() as u32).to_le_bytes();
        Ok([a, b, c, d, kind])
    }

    fn frame(self, payload: Bytes) -> io::Result<Frame> {
        match self.kind {
            KIND_MESSAGE => Ok(Frame::Message(payload)),
            KIND_DATA => Ok(Frame::Data(payload)),
            _ => Err(malformed("a frame of unknown kind")),
        }
    }
}

impl Frame {
    fn payload(&self) -> &Bytes {
        match self {
            Self::Message(payload) | Self::Data(payload) => payload,
        }
    }

    /// Writes the frame, waiting as long as it takes.
    pub(super) fn write_to(&self, mut to: impl Write) -> io::Result<()> {
        to.write_all(&Header::of(self)?)?;
        to.write_all(self.payload())
    }

    /// Reads a frame, waiting as long as it takes.
    pub(super) fn read_from(mut from: impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        from.read_exact(&mut header)?;
        let header = Header::parse(header)?;
        let mut payload = BytesMut::zeroed(header.length);
        from.read_exact(&mut payload)?;
        header.frame(payload.freeze())
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::parse(*header)?;
        if bytes.len() < HEADER_BYTES + header.length {
            bytes.reserve(HEADER_BYTES + header.length - bytes.len());
            return Ok(None);
        }
        bytes.advance(HEADER_BYTES);
        let payload = bytes.split_to(header.length).freeze();
        header.frame(payload).map(Some)
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, to: &mut BytesMut) -> io::Result<()> {
        let header = Header::of(&frame)?;
        to.reserve(HEADER_BYTES + frame.payload().len());
        to.put_slice(&header);
        to.put_slice(frame.payload());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_sides_agree_under_any_split(
            payloads in proptest::collection::vec((any::<bool>(), 0usize..3000), 0..6),
            cut in 1usize..500,
        ) {
            let frames: Vec<_> = payloads
                .into_iter()
                .map(|(data, length)| {
                    let payload = Bytes::from(vec![length as u8; length]);
                    if data { Frame::Data(payload) } else { Frame::Message(payload) }
                })
                .collect();
            let (mut written, mut encoded) = (Vec::new(), BytesMut::new());
            for frame in &frames {
                frame.write_to(&mut written).unwrap();
                FrameCodec.encode(frame.clone(), &mut encoded).unwrap();
            }
            prop_assert_eq!(&written[..], &encoded[..]);
            let mut buffer = BytesMut::new();
            let mut decoded = Vec::new();
            for piece in written.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = FrameCodec.decode(&mut buffer).unwrap() {
                    decoded.push(frame);
                }
            }
            prop_assert_eq!(&decoded, &frames);
            let mut rest = &written[..];
            for frame in &frames {
                prop_assert_eq!(&Frame::read_from(&mut rest).unwrap(), frame);
            }
        }

        #[test]
        fn garbage_is_refused_before_memory_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = FrameCodec.decode(&mut buffer) {}
            prop_assert!(buffer.capacity() <= PAYLOAD_BYTES_MAX + 1024);
        }
    }
}
