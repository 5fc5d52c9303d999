//! What a peer may send instead: never a panic or much memory, and what is understood says the same
//! when it is written again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use strait_fuzz::Target;

use super::control::{Message, Run};
use super::frame::Header;
use super::hello::{Hello, OURS, PairToken, Prefix};
use crate::class::Class;
use crate::ids::{Number, Seq, StreamId};
use crate::session::{Arrival, ClassMarks, Inbox, Instance, NumberSet, SessionHello};

fn corpus(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", name]
        .iter()
        .collect()
}

fn fuzz(name: &str, understood: impl FnMut(&[u8]) -> bool) {
    let target = Target {
        name: &format!("transport-{name}"),
        corpora: &[&corpus(name)],
        memory_bytes_max: 1 << 20,
        per_mille: 1000,
    };
    target.run_and_understand(understood);
}

#[test]
fn frames() {
    fuzz("frame", |input| {
        let Ok((header, len)) = Header::decode(input) else {
            return false;
        };
        assert!(len <= input.len() && len <= Header::BYTES_MAX);
        let again = header.encode();
        assert_eq!(Header::decode(&again), Ok((header, again.len())));
        true
    });
}

/// Batches of one connection, in the order in which their headers come: what is delivered comes once,
/// and no more waits than the windows let in.
#[test]
fn sessions() {
    fuzz("session", |mut input| {
        let (mut inbox, mut deliveries) = (Inbox::default(), Vec::new());
        let zeros = Bytes::from_static(&[0; 1 << 20]);
        let mut delivered = BTreeSet::new();
        while let Ok((header, len)) = Header::decode(input) {
            input = &input[len..];
            match inbox.handle_header(&header) {
                Ok(Arrival::New) => {}
                Ok(Arrival::Duplicate) => continue,
                Err(_) => break,
            }
            let raw = zeros.slice(..header.raw_len);
            if inbox.handle_decoded(&header, raw, &mut deliveries).is_err() {
                break;
            }
            for delivery in deliveries.drain(..) {
                let (class, Number(number)) = (delivery.class, delivery.number);
                assert!(delivered.insert((class.index(), number)), "delivered twice");
                if number % 2 == 0 {
                    inbox.ack(class, delivery.number, delivery.raw.len());
                }
            }
        }
        !delivered.is_empty()
    });
}

#[test]
fn control_messages() {
    fuzz("control", |input| {
        let Ok((message, len)) = Message::decode(input) else {
            return false;
        };
        assert!(len <= input.len() && len <= Message::BYTES_MAX);
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(Message::decode(&again), Ok((message, again.len())));
        true
    });
}

#[test]
fn hellos() {
    fuzz("hello", |input| {
        let Some((prefix, body)) = input.split_first_chunk() else {
            return false;
        };
        let versions = match Prefix::decode(prefix) {
            Ok(Prefix::Hello { versions, .. }) => versions,
            Ok(Prefix::Attach(_) | Prefix::Join(_)) | Err(_) => OURS,
        };
        let Ok(hello) = Hello::decode_body(versions, body) else {
            return false;
        };
        let again = hello.encode();
        let (_, body) = again.split_first_chunk::<{ Prefix::BYTES }>().unwrap();
        assert_eq!(Hello::decode_body(versions, body), Ok(hello));
        true
    });
}

#[test]
#[ignore = "writes the corpus anew: only for a new version of the formats"]
fn write_corpus() {
    let write = |name: &str, n: usize, bytes: &[u8]| {
        fs::create_dir_all(corpus(name)).unwrap();
        fs::write(corpus(name).join(format!("{n}.bin")), bytes).unwrap();
    };
    for (n, class) in Class::ALL.into_iter().enumerate() {
        let header = Header {
            class,
            last: n == 1,
            literal: n == 2,
            number: Number(100_000 * n as u64),
            stream: StreamId(u64::MAX),
            seq: Seq(n as u64),
            open: (n == 0).then(|| vec![7; 30].into()),
            raw_len: 1 << 20,
            wire_len: 12_345,
        };
        write("frame", n, &header.encode());
        let runs: Vec<Run> = (0..n as u64 * 100)
            .map(|n| Run {
                start: Number(n * 1000),
                len: n,
            })
            .collect();
        for message in Message::acks(class, &runs) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            write("control", n, &bytes);
        }
        let mut received = NumberSet::default();
        for number in 0..100 * n as u64 {
            received.insert(Number(3 * number));
        }
        let marks = ClassMarks {
            acked: received.clone(),
            received,
        };
        let hello = Hello {
            versions: OURS,
            site: "east".parse().unwrap(),
            incarnation: 5,
            token: PairToken(1 << 60),
            session: SessionHello {
                instance: Instance(9),
                peer: (n > 0).then_some(Instance(8)),
                marks: [ClassMarks::default(), marks.clone(), marks],
            },
            codec: vec![1; 60 * n].into(),
        };
        write("hello", n, &hello.encode());
    }
    let session = (0..24u64).flat_map(|n| {
        let header = Header {
            class: Class::ALL[n as usize % Class::COUNT],
            last: n >= 21,
            literal: false,
            number: Number(n / 3),
            stream: StreamId(n % 3),
            seq: Seq(n / 3),
            open: (n < 3).then(Bytes::new),
            raw_len: 100,
            wire_len: 50,
        };
        header.encode()
    });
    write("session", 0, &session.collect::<Vec<u8>>());
    let mut missing = Vec::new();
    let number = Number(u64::MAX);
    let class = Class::Bulk;
    Message::Missing { class, number }.encode(&mut missing);
    write("control", 9, &missing);
    write("hello", 9, &Prefix::Attach(PairToken(3)).encode());
}
