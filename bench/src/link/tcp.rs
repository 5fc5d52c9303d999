//! Kernel TCP's end: one connection that is kept full, and one for small messages.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::end::{CONTROL_BYTES, CONTROL_EVERY_MS, Counters, EndArguments, Received};
use super::{Contender, clock};

const WRITE_BYTES: usize = 64 << 10;

pub(super) fn send(arguments: &EndArguments) -> anyhow::Result<()> {
    thread::sleep(clock::until(arguments.start));
    let address = arguments.peer.parse()?;
    let mut bulk = connect(
        arguments.contender,
        SocketAddr::new(address, arguments.port),
    )?;
    let control_address = SocketAddr::new(address, arguments.port + 1);
    let mut control = connect(arguments.contender, control_address)?;
    control.set_nodelay(true)?;
    thread::spawn(move || {
        let mut piece = vec![0; WRITE_BYTES];
        rand::fill(&mut piece[..]);
        while bulk.write_all(&piece).is_ok() {}
    });
    while !clock::until(arguments.end()).is_zero() {
        let mut message = [0; CONTROL_BYTES];
        message[..8].copy_from_slice(&clock::unix_nanos().to_le_bytes());
        control.write_all(&message)?;
        thread::sleep(Duration::from_millis(CONTROL_EVERY_MS));
    }
    Ok(())
}

fn connect(contender: Contender, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    let algorithm: &[u8] = match contender {
        Contender::TcpBbr => b"bbr",
        Contender::TcpCubic
        | Contender::Strait
        | Contender::StraitCubic
        | Contender::StraitRate
        | Contender::QuinnBbr => b"cubic",
    };
    socket.set_tcp_congestion(algorithm)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

pub(super) fn receive(arguments: &EndArguments, counters: Counters) -> anyhow::Result<Received> {
    let counters = Arc::new(counters);
    let bulk = TcpListener::bind((Ipv4Addr::UNSPECIFIED, arguments.port))?;
    let control = TcpListener::bind((Ipv4Addr::UNSPECIFIED, arguments.port + 1))?;
    let bulk_counters = Arc::clone(&counters);
    thread::spawn(move || receive_bulk(&bulk, &bulk_counters));
    let control_counters = Arc::clone(&counters);
    thread::spawn(move || receive_control(&control, &control_counters));
    thread::sleep(clock::until(arguments.end()));
    counters.report()
}

/// Until the sender is gone.
fn receive_bulk(listener: &TcpListener, counters: &Counters) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            bytes => counters.count_bulk(bytes),
        }
    }
}

/// Until the sender is gone.
fn receive_control(listener: &TcpListener, counters: &Counters) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut message = [0; CONTROL_BYTES];
    loop {
        stream.read_exact(&mut message)?;
        counters.count_control(&message);
    }
}
