//! Commands whose gateway hangs, is busy, or has lost its socket.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;
use crate::bulk::Failure;
use crate::bulk::path::SitePath;

const SOON: Duration = Duration::from_millis(200);

/// What a command hears from whoever has the socket.
fn every_command(socket: &Path) -> Vec<ClientError> {
    let gateway = Gateway::new(socket, Duration::ZERO).with_silence(SOON);
    let (place, site) = (place("west:f"), site("west"));
    // More than the socket takes.
    let endless = io::repeat(7);
    let file = PushedFile::default();
    let path: SitePath = "f".parse().unwrap();
    vec![
        gateway.pull(&place, &mut Collected::default()).unwrap_err(),
        gateway
            .push(&place, file, endless, |_| Ok(()), |_| {})
            .unwrap_err(),
        gateway.list(&place, "").unwrap_err(),
        gateway.remove(&place).unwrap_err(),
        gateway.describe(&site, [path], false).unwrap_err(),
    ]
}

fn are_silent(errors: &[ClientError]) {
    for error in errors {
        assert!(matches!(error, ClientError::Silent(_)), "{error}");
    }
}

#[test]
fn no_command_waits_for_ever_for_a_gateway_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("strait.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    are_silent(&every_command(&path));
    // Not even a connection comes about.
    let full = dir.path().join("full.sock");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&full).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _queued = UnixStream::connect(&full).unwrap();
    are_silent(&every_command(&full));
}

/// One that says `Ready` and then stands still, in the middle of a push.
#[test]
fn a_push_ends_that_its_gateway_takes_no_more_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("strait.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let stands_still = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let ready = br#"{"ready":{"kept":null}}"#;
        let length = (ready.len() as u32).to_le_bytes();
        stream
            .write_all(&[&length[..], &[0], ready].concat())
            .unwrap();
        (stream, listener)
    });
    let gateway = Gateway::new(&path, Duration::ZERO).with_silence(SOON);
    let (to, file) = (place("west:f"), PushedFile::default());
    let pushed = gateway.push(&to, file, io::repeat(7), |_| Ok(()), |_| {});
    assert!(matches!(pushed, Err(ClientError::Silent(_))), "{pushed:?}");
    drop(stands_still.join().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_there_may_be_silent_for_long() {
    let east = Gate::start(Wires::new().east().await, None);
    let began = Instant::now();
    let waited = east.run(|gateway| {
        let gateway = gateway.with_wait(SOON * 10).with_silence(SOON);
        gateway.list(&place("west:"), "")
    });
    let error = waited.await.unwrap_err();
    assert!(
        matches!(error, ClientError::Failed(Failure::LinkDown(_))),
        "{error}"
    );
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_in_line_keep_nobody_from_asking_the_gateway() {
    let east = Gate::start(Wires::new().east().await, None);
    let request =
        br#"{"version":1,"request":{"site":"west","path":"f","wait_s":600,"what":"remove"}}"#;
    let length = (request.len() as u32).to_le_bytes();
    let frame = [&length[..], &[0], request].concat();
    let asked = east.run(|gateway| gateway.tell(Ask::Alive, PATIENCE)).await;
    asked.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let mut stream = UnixStream::connect(&east.socket).unwrap();
        stream.write_all(&frame).unwrap();
        waiting.push(stream);
    }
    let asked = east.run(|gateway| gateway.tell(Ask::Alive, PATIENCE)).await;
    assert_eq!(asked.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_somebody_removed_is_made_anew() {
    let (east, _west) = two_gates(None).await;
    east.push("west:f", &b"before"[..]).await.unwrap();
    std::fs::remove_file(&east.socket).unwrap();
    assert_eq!(east.pull("west:f").await.unwrap(), b"before");
}
