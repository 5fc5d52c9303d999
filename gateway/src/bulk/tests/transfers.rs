//! What a person who runs push, pull and ls sees.

use super::*;
use crate::bulk::Failure;
use crate::bulk::message::{self, Header};
use crate::bulk::path::PathError;
use crate::bulk::store::{Mtime, Standing};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_there_and_back_unchanged() {
    let (east, west) = two_gates(None).await;
    for length in [0, 1, (1 << 20) - 1, 1 << 20, (5 << 20) + 77, 70 << 20] {
        let bytes = noise(1, length);
        let moved = east
            .push("west:a/b/file", io::Cursor::new(bytes.clone()))
            .await
            .unwrap();
        assert_eq!(
            (moved.length, moved.digest),
            (length as u64, blake3::hash(&bytes))
        );
        assert!(read(&west.files.join("a/b/file")) == bytes, "{length}");
        assert!(
            east.pull("west:a/b/file").await.unwrap() == bytes,
            "{length}"
        );
    }
    west.idle().await;
    assert_eq!(west.unfinished(), 0);
    let figures = west.bulk.figures();
    assert_eq!(
        (figures.received_files, figures.sent_files, figures.failed),
        (6, 6, 0)
    );
    assert_eq!(figures.stored_bytes, 70 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_and_time_cross_and_ls_shows_them() {
    let (east, west) = two_gates(None).await;
    let meta = FileMeta {
        mode: Some(0o640),
        mtime: Some(Mtime {
            seconds: 1_234_567_890,
            nanos: 9,
        }),
    };
    let file = PushedFile {
        length: Some(3),
        meta,
        resume: true,
        no_replace: false,
    };
    let push = move |gateway: Gateway| {
        gateway.push(&place("west:d/f"), file, &b"abc"[..], |_| Ok(()), |_| {})
    };
    east.run(push).await.unwrap();
    let page = east
        .run(|gateway| gateway.list(&place("west:d"), ""))
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.more), (1, false));
    let entry = &page.entries[0];
    assert_eq!(
        (entry.name.as_str(), entry.length, entry.mtime),
        ("f", 3, meta.mtime.unwrap())
    );
    drop(west);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_all_arrive() {
    let (east, west) = two_gates(None).await;
    let pushes = (0..100u8).map(|number| {
        let bytes = noise(number, 3000 * usize::from(number));
        let east = &east;
        async move {
            east.push(&format!("west:many/{number}"), io::Cursor::new(bytes))
                .await
        }
    });
    for outcome in futures_util::future::join_all(pushes).await {
        outcome.unwrap();
    }
    for number in 0..100u8 {
        let file = west.files.join(format!("many/{number}"));
        assert!(read(&file) == noise(number, 3000 * usize::from(number)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_that_replace_nothing_one_gets_the_name() {
    let (east, west) = two_gates(None).await;
    let push = async |name: &str, seed: u8| {
        let (to, file) = (
            place(&format!("west:{name}")),
            PushedFile {
                no_replace: true,
                ..PushedFile::default()
            },
        );
        let from = io::Cursor::new(noise(seed, 300_000));
        east.run(move |gateway| gateway.push(&to, file, from, |_| Ok(()), |_| {}))
            .await
    };
    for round in 0..6u8 {
        let name = format!("round-{round}");
        let (one, two) = tokio::join!(push(&name, 1), push(&name, 2));
        let (won, lost) = match one {
            Ok(_) => (1, two),
            Err(_) => (2, one),
        };
        assert!(read(&west.files.join(&name)) == noise(won, 300_000));
        let lost = lost.unwrap_err();
        assert!(
            matches!(lost, ClientError::Failed(Failure::Exists)),
            "{lost}"
        );
        let (one, two) = tokio::join!(push(&name, won), push(&name, won));
        assert!(one.is_ok() && two.is_ok(), "the same bytes are there");
    }
    assert_eq!(west.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_the_release_before_is_told_nothing_that_it_does_not_know() {
    let wires = Wires::new();
    let (east, mut west) = (wires.east().await, wires.west().await);
    let east = Gate::start_with(east, None, WireVersion(4));
    let push = east.run(|gateway| {
        let file = PushedFile {
            no_replace: true,
            ..PushedFile::default()
        };
        gateway.push(&place("west:f"), file, &b"abc"[..], |_| Ok(()), |_| {})
    });
    let header = async {
        loop {
            if let LinkEvent::Batch(batch) = west.events.next().await.unwrap() {
                return message::decode::<Header>(&batch.bytes).unwrap();
            }
        }
    };
    tokio::select! {
        pushed = push => panic!("nobody took it: {:?}", pushed.is_ok()),
        header = header => assert!(matches!(header, Header::Push { .. })),
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_file_can_be_verified_and_removed() {
    let (east, west) = two_gates(None).await;
    let bytes = noise(3, 2_000_000);
    let moved = east.push("west:d/f", io::Cursor::new(bytes)).await.unwrap();
    let look = |digests| {
        let names = ["d/f", "d", "d/none", "../f"];
        move |gateway: Gateway| {
            let paths = names.map(|name| name.parse().unwrap_or_default());
            gateway.describe(&site("west"), paths, digests)
        }
    };
    let (seen, read) = (
        east.run(look(false)).await.unwrap(),
        east.run(look(true)).await.unwrap(),
    );
    let digest_of = |far: &Result<Standing, Failure>| match far {
        Ok(Standing::File { length, digest, .. }) => {
            assert_eq!(*length, moved.length);
            *digest
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(digest_of(&seen[0]), None);
    assert_eq!(digest_of(&read[0]), Some(*moved.digest.as_bytes()));
    for far in [seen, read] {
        let failures: Vec<_> = far.into_iter().skip(1).map(Result::unwrap_err).collect();
        let no_name = Failure::Path(PathError::NoFileName);
        assert_eq!(failures, [Failure::IsFolder, Failure::NotFound, no_name]);
    }
    east.run(|gateway| gateway.remove(&place("west:d/f")))
        .await
        .unwrap();
    assert!(!west.files.join("d/f").exists());
    let gone = east.run(|gateway| gateway.remove(&place("west:d/f"))).await;
    assert!(matches!(gone, Err(ClientError::Failed(Failure::NotFound))));
}

/// Gives some bytes, then fails.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("bad sector"));
        }
        let count = self.0.min(buffer.len());
        self.0 -= count;
        Ok(count)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_breaks_off_leaves_the_old_file() {
    let (east, west) = two_gates(None).await;
    east.push("west:f", &b"old"[..]).await.unwrap();
    let error = east.push("west:f", Broken(3 << 20)).await.unwrap_err();
    assert!(error.to_string().contains("bad sector"), "{error}");
    west.failed(1).await;
    assert_eq!(
        (read(&west.files.join("f")), west.unfinished()),
        (b"old".to_vec(), 0)
    );
    let changed = east
        .run(|gateway| {
            let check = |_: &_| Err(Failure::Changed);
            gateway.push(
                &place("west:f"),
                PushedFile::default(),
                &b"new"[..],
                check,
                |_| {},
            )
        })
        .await;
    assert!(matches!(
        changed,
        Err(ClientError::Failed(Failure::Changed))
    ));
    west.failed(2).await;
    assert_eq!(read(&west.files.join("f")), b"old");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_push_goes_on_where_it_broke_off() {
    let (east, west) = two_gates(None).await;
    let bytes = noise(8, 40 << 20);
    let meta = FileMeta {
        mode: None,
        mtime: Some(Mtime {
            seconds: 7,
            nanos: 0,
        }),
    };
    let file = PushedFile {
        length: Some(40 << 20),
        meta,
        resume: true,
        no_replace: false,
    };
    let push = |from: Vec<u8>, breaks: bool| {
        east.run(move |gateway| {
            let tail: Box<dyn Read + Send> = match breaks {
                true => Box::new(Broken(0)),
                false => Box::new(io::empty()),
            };
            let from = io::Cursor::new(from).chain(tail);
            gateway.push(&place("west:f"), file, from, |_| Ok(()), |_| {})
        })
    };
    push(bytes[..30 << 20].to_vec(), true).await.unwrap_err();
    west.failed(1).await;
    assert_eq!(west.unfinished(), 1);
    let before = west.bulk.figures().received_bytes;
    let other = push(noise(9, 40 << 20), false).await.unwrap_err();
    assert!(matches!(other, ClientError::NotResumed), "{other}");
    let moved = push(bytes.clone(), false).await.unwrap();
    assert_eq!(
        (moved.length, moved.digest),
        (40 << 20, blake3::hash(&bytes))
    );
    assert!(moved.cost.logical_bytes >= 40 << 20);
    assert!(west.bulk.figures().received_bytes - before <= 11 << 20);
    assert!(read(&west.files.join("f")) == bytes);
    west.idle().await;
    assert_eq!(west.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_site_says_so_at_once_and_goes_on() {
    let (east, west) = two_gates(Some(2 << 20)).await;
    let endless = io::repeat(7).take(1 << 30);
    let error = east.push("west:big", endless).await.unwrap_err();
    assert!(matches!(
        error,
        ClientError::Failed(Failure::CapReached {
            bytes_max: 2_097_152
        })
    ));
    west.failed(1).await;
    assert_eq!(
        (west.unfinished(), west.bulk.figures().stored_bytes),
        (0, 0)
    );
    assert!(west.bulk.figures().received_bytes < 80 << 20);
    east.push("west:small", &b"fits"[..]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_without_its_disk_says_so_instead_of_having_no_files() {
    let wires = Wires::new();
    let (east, west) = (wires.east().await, wires.west().await);
    let End { node, link, events } = west;
    let note = tempfile::tempdir().unwrap();
    let west = Gate::start_among(node, vec![(link, events)], WireVersion(5), |config| {
        let seen = note.path().join("bulk.seen");
        std::fs::write(&seen, config.dir.to_str().unwrap()).unwrap();
        config.seen = Some(seen);
    });
    let east = Gate::start(east, None);
    let named = |error: ClientError| {
        let failed = matches!(&error, ClientError::Failed(Failure::Io(_)));
        assert!(failed && error.to_string().contains("mounted"), "{error}");
    };
    named(east.pull("west:wal/1").await.unwrap_err());
    named(east.push("west:wal/1", &b"wal"[..]).await.unwrap_err());
    let listed = east.run(|gateway| gateway.list(&place("west:"), "")).await;
    named(listed.unwrap_err());
    assert!(!west.files.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_refused_by_name() {
    let (east, west) = two_gates(None).await;
    std::fs::create_dir(west.files.join("folder")).unwrap();
    std::os::unix::fs::symlink("/etc", west.files.join("link")).unwrap();
    let refused = |outcome: Result<Vec<u8>, ClientError>| match outcome {
        Err(ClientError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(east.pull("west:nothing").await), Failure::NotFound);
    assert_eq!(refused(east.pull("west:folder").await), Failure::IsFolder);
    assert_eq!(refused(east.pull("west:link").await), Failure::NotAFile);
    assert_eq!(
        refused(east.pull("west:link/passwd").await),
        Failure::NotAFolder
    );
    let unknown = refused(east.pull("north:file").await);
    assert_eq!(unknown, Failure::UnknownSite("west".into()));
    let push = east.push("west:folder", &b""[..]).await;
    assert!(matches!(push, Err(ClientError::Failed(Failure::IsFolder))));
    let push = east.push("west:link/new", &b""[..]).await;
    assert!(matches!(
        push,
        Err(ClientError::Failed(Failure::NotAFolder))
    ));
}

/// Takes the first piece and then no more, until it is let go.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Sink for Stuck {
    fn begin(&mut self, _length: u64, _meta: FileMeta) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        self.0.recv().ok();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_reader_holds_up_nobody_else() {
    let (east, west) = two_gates(None).await;
    std::fs::write(west.files.join("large"), vec![5; 200 << 20]).unwrap();
    let (release, stuck) = std::sync::mpsc::channel();
    let stopped = east.run(move |gateway| {
        gateway
            .pull(&place("west:large"), &mut Stuck(stuck))
            .map(|moved| moved.length)
    });
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..3 {
            east.push("west:f", io::repeat(1).take(20 << 20))
                .await
                .unwrap();
            assert_eq!(east.pull("west:f").await.unwrap().len(), 20 << 20);
        }
        drop(release);
    };
    let (length, ()) = tokio::join!(stopped, others);
    assert_eq!(length.unwrap(), 200 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_or_a_link_the_remedy_is_named() {
    let wires = Wires::new();
    let east = Gate::start(wires.east().await, None);
    let down = east
        .run(|gateway| gateway.with_wait(Duration::ZERO).list(&place("west:"), ""))
        .await
        .unwrap_err();
    assert!(
        matches!(&down, ClientError::Failed(Failure::LinkDown(_))),
        "{down}"
    );
    assert!(down.to_string().contains("strait status"), "{down}");
    let nowhere = Gateway::new(Path::new("/nonexistent/strait.sock"), PATIENCE);
    let absent = nowhere.list(&place("west:"), "").unwrap_err();
    assert!(absent.to_string().contains("strait run"), "{absent}");
}

/// Gives zeros for ever, slowly.
struct Slow;

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_millis(1));
        buffer.fill(0);
        Ok(buffer.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_ends_the_push_with_a_clear_error() {
    let wires = Wires::new();
    let east = Gate::start(wires.east().await, None);
    let west = Gate::start(wires.west().await, None);
    east.push("west:warm", &b"up"[..]).await.unwrap();
    let push = east.push("west:f", Slow);
    let restart = async {
        west.receives().await;
        west.stop().await;
        Gate::start(wires.west().await, None)
    };
    let (outcome, west) = tokio::join!(push, restart);
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, ClientError::Failed(Failure::SessionReset)),
        "{error}"
    );
    assert!(error.to_string().contains("costs next to nothing"));
    // One that begins before the new session has is told the same.
    let mut again = east.push("west:f", &b"again"[..]).await;
    for _ in 0..20 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        again = east.push("west:f", &b"again"[..]).await;
    }
    again.unwrap();
    assert_eq!(read(&west.files.join("f")), b"again");
}
