//! The door: it asks everybody who dials us for a key before anything else, few at a time, and keeps room
//! for the networks of known peers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use quinn::{Endpoint, Incoming};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::handshakes::{Handshakes, Verdict};
use crate::ids::SiteName;
use crate::line::{Goodbye, Line};
use crate::link::{self, Caller};
use crate::network::Network;
use crate::peer_networks::PeerNetworks;
use crate::quic;
use crate::refusals::{Refusal, Refusals, Refused};
use crate::tcp::Acceptor;
use crate::tls::Keyring;

/// How long a handshake and the first words may take that others began.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// After an error to accept, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why it was refused, if it was.
type Answered = (SocketAddr, Result<(), Refused>);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    ring: Keyring,
    callers: HashMap<SiteName, Sender<Caller>>,
    /// Empty: anywhere.
    from: Vec<IpNet>,
    networks: Arc<PeerNetworks>,
    refusals: Arc<Refusals>,
}

impl Door {
    pub(crate) fn new(
        ring: Keyring,
        callers: HashMap<SiteName, Sender<Caller>>,
        (from, networks): (Vec<IpNet>, Arc<PeerNetworks>),
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            ring,
            callers,
            from,
            networks,
            refusals,
        }
    }

    /// Whether somebody may dial from there.
    fn is_open_to(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.from.is_empty() || self.from.iter().any(|net| net.contains(&address))
    }

    /// Makes room for one more from this address. It is answered if the verdict is [`Verdict::Admit`].
    fn judge(&self, address: SocketAddr, is_proven: bool, answers: &mut Answers) -> Verdict {
        let now = Instant::now();
        let turn_away = |refused: Refused| {
            self.refusals.record(now, address, &refused);
            Verdict::Ignore
        };
        if !self.is_open_to(address.ip()) {
            return turn_away(Refusal::NotAllowed.because("no peer is let in from there"));
        }
        let network = Network::of(address.ip());
        let room = answers.room(self.networks.contains(network));
        match room.judge(network, is_proven, now) {
            Verdict::Ignore => {
                turn_away(Refusal::TooMany.because("too many handshakes are in progress"))
            }
            Verdict::Replace(at) => {
                let (address, answer) = room.take(at);
                answer.abort();
                let refused = Refusal::TooMany.because("another's handshake took its place");
                self.refusals.record(now, address, &refused);
                Verdict::Admit
            }
            verdict @ (Verdict::Admit | Verdict::Prove) => verdict,
        }
    }

    /// Answers those who dial us, until it is dropped.
    pub(crate) async fn open(self, endpoint: Endpoint, listener: TcpListener, acceptor: Acceptor) {
        let (mut over_quic, mut over_tcp) = (Answers::default(), Answers::default());
        loop {
            let answered = tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => {
                        self.admit(incoming, &mut over_quic);
                        continue;
                    }
                    None => return,
                },
                accepted = listener.accept() => {
                    match accepted {
                        Ok((stream, address)) => {
                            // The kernel has seen that it is its own.
                            if self.judge(address, true, &mut over_tcp) == Verdict::Admit {
                                let door = self.clone();
                                let answer = door.answer_tcp(stream, address, acceptor.clone());
                                self.begin(address, answer, &mut over_tcp);
                            }
                        }
                        Err(error) => {
                            tracing::debug!(%error, "cannot accept over TCP");
                            sleep(ACCEPT_AGAIN).await;
                        }
                    }
                    continue;
                }
                Some(answered) = over_quic.next() => answered,
                Some(answered) = over_tcp.next() => answered,
            };
            if let (address, Err(refused)) = answered {
                self.refusals.record(Instant::now(), address, &refused);
            }
        }
    }

    /// Starts a handshake, unless there are too many.
    fn admit(&self, incoming: Incoming, over_quic: &mut Answers) {
        let address = incoming.remote_address();
        let is_proven = incoming.remote_address_validated() || !incoming.may_retry();
        match self.judge(address, is_proven, over_quic) {
            Verdict::Admit => {
                let answer = self.clone().answer_quic(incoming);
                self.begin(address, answer, over_quic);
            }
            // An address that is not the sender's own never comes back.
            Verdict::Prove => drop(incoming.retry()),
            Verdict::Replace(_) | Verdict::Ignore => incoming.ignore(),
        }
    }

    fn begin(
        &self,
        address: SocketAddr,
        answer: impl Future<Output = Result<(), Refused>> + Send + 'static,
        answers: &mut Answers,
    ) {
        let running = async move { (address, answer.await) };
        let answer = answers.running.spawn(running);
        let network = Network::of(address.ip());
        let room = answers.room(self.networks.contains(network));
        room.begin(network, Instant::now(), (address, answer));
    }

    async fn answer_quic(self, incoming: Incoming) -> Result<(), Refused> {
        self.answer(quic::answer(incoming)).await
    }

    async fn answer_tcp(
        self,
        stream: TcpStream,
        address: SocketAddr,
        acceptor: Acceptor,
    ) -> Result<(), Refused> {
        let handshake = async { acceptor.answer(stream, address).await.map(Some) };
        self.answer(handshake).await
    }

    /// Hands a caller with a pinned key to its link. `None`: it has taken its call back.
    async fn answer(
        self,
        handshake: impl Future<Output = Result<Option<Line>, Refused>>,
    ) -> Result<(), Refused> {
        let begun = Instant::now();
        let line = timeout(HANDSHAKE_MAX, handshake).await;
        let slow = |_| Refusal::Handshake.because("the handshake took too long");
        let Some(line) = line.map_err(slow)?? else {
            return Ok(());
        };
        let key = line.connection.key();
        let site = key.and_then(|key| self.ring.site_of(&key));
        let link = site.and_then(|site| Some((self.callers.get(&site)?, site)));
        let Some((link, site)) = link else {
            line.connection.close(Goodbye::Violation, "unknown key");
            return Err(Refusal::UnknownKey.because("unknown key"));
        };
        self.networks.seen(&site, line.connection.address().ip());
        if let Some(caller) = link::introduce(line, begun).await? {
            // A link that has stopped needs no callers.
            drop(link.send(caller).await);
        }
        Ok(())
    }
}

/// A handshake: from where, and what ends it.
type InProgress = (SocketAddr, AbortHandle);

/// The callers over one transport that are being answered.
#[derive(Debug, Default)]
struct Answers {
    strangers: Handshakes<InProgress>,
    known: Handshakes<InProgress>,
    running: JoinSet<Answered>,
}

impl Answers {
    fn room(&mut self, is_known: bool) -> &mut Handshakes<InProgress> {
        match is_known {
            true => &mut self.known,
            false => &mut self.strangers,
        }
    }

    /// `None`: there are none. May be cancelled.
    async fn next(&mut self) -> Option<Answered> {
        loop {
            let ended = self.running.join_next_with_id().await?;
            let id = match &ended {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            for room in [&mut self.strangers, &mut self.known] {
                room.end(|(_, answer)| answer.id() == id);
            }
            if let Ok((_, answered)) = ended {
                return Some(answered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::*;
    use crate::identity::{Identity, PublicKey};
    use crate::ids::WireVersion;
    use crate::line::Purpose;
    use crate::status::Transport;
    use crate::tcp;
    use crate::wire::hello::{OURS, Prefix, WireVersions};

    /// An open door of `west`, which knows `east`.
    struct Open {
        address: SocketAddr,
        refusals: Arc<Refusals>,
        east: Identity,
        west: Identity,
    }

    impl Open {
        async fn new(from: Vec<IpNet>) -> Self {
            let (east, west) = (Identity::generate().unwrap(), Identity::generate().unwrap());
            let ring = Keyring::new(&west, pins(&east, "east")).unwrap();
            let address = strait_ports::free_port();
            let listener = TcpListener::bind(address).await.unwrap();
            let (endpoint, _) =
                quic::listen(quic::socket::bind(address).unwrap(), &ring, true).unwrap();
            let acceptor = Acceptor::new(&ring).unwrap();
            let (link, mut calls) = tokio::sync::mpsc::channel(1);
            let callers = HashMap::from([("east".parse().unwrap(), link)]);
            let refusals = Arc::<Refusals>::default();
            let door = Door::new(ring, callers, (from, Arc::default()), Arc::clone(&refusals));
            tokio::spawn(door.open(endpoint, listener, acceptor));
            tokio::spawn(async move { while calls.recv().await.is_some() {} });
            Self {
                address,
                refusals,
                east,
                west,
            }
        }

        /// Dials it with this key.
        async fn dial(&self, own: &Identity, transport: Transport) -> Result<Line, String> {
            let (site, ring) = ("west".parse().unwrap(), pins(&self.west, "west"));
            let ring = Keyring::new(own, ring).unwrap();
            match transport {
                Transport::Quic => {
                    quic::dial(self.address, &site, &ring, Purpose::Control, true).await
                }
                Transport::Tcp => tcp::dial(self.address, &site, &ring).await,
            }
        }

        /// Waits until so many were turned away for this, and none for anything else.
        async fn has_refused(&self, refusal: Refusal, connections: u64) {
            let counted = async {
                while self.refusals.connections(refusal) < connections {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(20), counted).await.unwrap();
            for other in Refusal::ALL.into_iter().filter(|other| *other != refusal) {
                assert_eq!(self.refusals.connections(other), 0, "{other:?}");
            }
        }
    }

    fn pins(of: &Identity, site: &str) -> BTreeMap<PublicKey, SiteName> {
        BTreeMap::from([(of.public_key(), site.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_call_that_is_taken_back_is_no_refusal() {
        let (east, west) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let ring = |own: &Identity| Keyring::new(own, BTreeMap::new()).unwrap();
        let socket = quic::socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let (endpoint, _) = quic::listen(socket, &ring(&west), true).unwrap();
        let (address, ring) = (endpoint.local_addr().unwrap(), ring(&east));
        let dial = tokio::spawn(async move {
            let west = "west".parse().unwrap();
            quic::dial(address, &west, &ring, Purpose::Bulk, true).await
        });
        let incoming = endpoint.accept().await.unwrap();
        dial.abort();
        assert!(dial.await.unwrap_err().is_cancelled());
        assert!(quic::answer(incoming).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn who_was_killed_and_is_back_says_so_at_once() {
        let (east, west) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let serve = |address| {
            let socket = quic::socket::bind(address).unwrap();
            let ring = Keyring::new(&west, pins(&east, "east")).unwrap();
            quic::listen(socket, &ring, true).unwrap()
        };
        let (first, socket) = serve(([127, 0, 0, 1], 0).into());
        let address = first.local_addr().unwrap();
        let pinned = Keyring::new(&east, pins(&west, "west")).unwrap();
        let site = "west".parse().unwrap();
        let endpoint = first.clone();
        // Waits for a first word, and knows of nothing.
        tokio::spawn(async move { quic::answer(endpoint.accept().await?).await.ok() });
        let dialed = quic::dial(address, &site, &pinned, Purpose::Control, true);
        let line = timeout(Duration::from_secs(60), dialed).await;
        let line = line.unwrap().unwrap();
        quic::let_go(&first);
        let freed = async {
            while socket.strong_count() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(60), freed).await.unwrap();
        let _second = serve(address);
        let ended = timeout(Duration::from_secs(60), line.connection.closed());
        let why = ended.await.unwrap().reason;
        assert_eq!(why, "the peer was killed and started again");
    }

    #[tokio::test]
    async fn who_dials_from_elsewhere_is_not_answered() {
        let door = Open::new(vec!["192.0.2.0/24".parse().unwrap()]).await;
        assert!(door.dial(&door.east, Transport::Tcp).await.is_err());
        let over_quic = door.dial(&door.east, Transport::Quic);
        assert!(timeout(Duration::from_secs(1), over_quic).await.is_err());
        door.has_refused(Refusal::NotAllowed, 2).await;
    }

    #[tokio::test]
    async fn an_unknown_key_is_counted() {
        let door = Open::new(Vec::new()).await;
        let stranger = Identity::generate().unwrap();
        for transport in [Transport::Quic, Transport::Tcp] {
            // To the dialer a handshake may be over before the other end has seen its key.
            drop(door.dial(&stranger, transport).await);
        }
        door.has_refused(Refusal::UnknownKey, 2).await;
    }

    #[tokio::test]
    async fn too_many_from_one_address_are_counted() {
        let door = Open::new(Vec::new()).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(door.address).await.unwrap());
        }
        door.has_refused(Refusal::TooMany, 4).await;
    }

    #[tokio::test]
    async fn another_version_is_named_to_both() {
        let door = Open::new(vec!["127.0.0.0/8".parse().unwrap()]).await;
        for transport in [Transport::Quic, Transport::Tcp] {
            let mut line = door.dial(&door.east, transport).await.unwrap();
            let newer = WireVersion(OURS.newest.0 + 1);
            let hello = Prefix::Hello {
                versions: WireVersions {
                    oldest: newer,
                    newest: newer,
                },
                body_len: 0,
            };
            let hello = Bytes::copy_from_slice(&hello.encode());
            line.send.write(&mut [hello]).await.unwrap();
            let reason = line.connection.closed().await.reason;
            let theirs = format!("speaks version {newer}");
            assert!(reason.contains(&theirs), "{reason}");
        }
        door.has_refused(Refusal::Version, 2).await;
    }
}
