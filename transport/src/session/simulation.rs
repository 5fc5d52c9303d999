//! Two sessions, a link that breaks at any point or goes over to another connection, and ends
//! that restart: all from one seed.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::limits::unacked_bytes_max;
use super::*;
use crate::ids::{Seq, StreamId};
use crate::wire::control::Message;
use crate::wire::frame::Header;

const SEEDS_DEFAULT: u64 = 400;
const STEPS: usize = 1500;

/// Something on its way from one end to the other.
enum Packet {
    Batch(Header, Bytes),
    Message(Message),
}

/// One end's half of a pair of connections.
#[derive(Default)]
struct Flow {
    handover: Handover,
    /// Batches of which the last byte is not written yet.
    writing: VecDeque<(Header, Bytes)>,
    in_flight: VecDeque<Packet>,
}

struct OutUser {
    class: Class,
    /// Of the sender: tells its streams from those of another life.
    sent: Vec<Bytes>,
    ended: bool,
}

/// One gateway: session, and what its user knows.
struct End {
    session: Session,
    connected: bool,
    streams: BTreeMap<StreamId, OutUser>,
    /// What the user was handed, by the peer's stream, in this session.
    delivered: HashMap<StreamId, (u64, bool)>,
    unacked: Vec<Delivery>,
    decoding: Vec<(Header, Bytes)>,
    /// The pair that is handing over, if any, and the newest.
    flows: VecDeque<Flow>,
}

impl End {
    fn new(instance: u64) -> Self {
        Self {
            session: Session::new(Instance(instance)),
            connected: false,
            streams: BTreeMap::new(),
            delivered: HashMap::new(),
            unacked: Vec::new(),
            decoding: Vec::new(),
            flows: VecDeque::new(),
        }
    }

    /// Over which pair it tells the other something: the older, until it has heard of the handover.
    fn flow(&mut self) -> &mut Flow {
        let retired = self.flows.iter().take_while(|f| f.handover.is_retired());
        let index = retired.count();
        &mut self.flows[index]
    }

    fn opened(&mut self, opened: &Opened) {
        self.connected = true;
        self.flows = VecDeque::from([Flow::default()]);
        if opened.fresh {
            self.streams.clear();
            self.delivered.clear();
            self.unacked.clear();
        }
    }
}

struct World {
    rng: StdRng,
    ends: [End; 2],
    next_instance: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            ends: [End::new(1), End::new(2)],
            next_instance: 3,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn step(&mut self) {
        let end = self.rng.random_range(0..2usize);
        match self.rng.random_range(0..100u32) {
            0..20 => self.send(end),
            20..40 => self.transmit(end),
            40..45 => self.finish_write(end),
            45..65 => self.arrive(end),
            65..80 => self.decode(end),
            80..88 => self.ack(end),
            88..94 => self.tell_acks(end),
            94..96 => self.hand_over(),
            96..98 => self.connect(),
            98 => self.disconnect(),
            _ if self.chance(20) => self.restart(end),
            _ => {}
        }
        self.check_bounds();
    }

    /// The user opens a stream or sends on one.
    fn send(&mut self, end: usize) {
        let new = self.chance(20);
        let len = match self.chance(5) {
            true => 1 << 20,
            false => self.rng.random_range(0..2000usize),
        };
        let last = self.chance(10);
        let class = Class::ALL[self.rng.random_range(0..3usize)];
        let pick = self.rng.random_range(0..8usize);
        let user = &mut self.ends[end];
        if new {
            let open = Bytes::from(format!("{class:?}"));
            let stream = user.session.outbox.open(class, open).unwrap();
            let out = OutUser {
                class,
                sent: Vec::new(),
                ended: false,
            };
            user.streams.insert(stream, out);
        }
        let mut open_streams = user.streams.iter_mut().filter(|(_, s)| !s.ended);
        let Some((&stream, out)) = open_streams.nth(pick) else {
            return;
        };
        if !user.session.outbox.has_room(out.class, len) {
            return;
        }
        let raw = Bytes::from(vec![out.sent.len() as u8; len]);
        let seq = user.session.outbox.push(stream, raw.clone(), last).unwrap();
        assert_eq!(seq, Seq(out.sent.len() as u64));
        out.sent.push(raw);
        out.ended = last;
    }

    fn transmit(&mut self, end: usize) {
        let room = [(); 3].map(|()| self.chance(80));
        let at_once = self.chance(50);
        let user = &mut self.ends[end];
        if !user.connected {
            return;
        }
        if let Some(batch) = user.session.poll_transmit(room) {
            let header = Header {
                class: batch.class,
                last: batch.last,
                literal: batch.literal,
                number: batch.number,
                stream: batch.stream,
                seq: batch.seq,
                open: batch.open,
                raw_len: batch.raw.len(),
                wire_len: batch.raw.len(),
            };
            let mut flows = user.flows.iter_mut();
            let flow = flows.find_map(|flow| flow.handover.begin_write().then_some(flow));
            flow.unwrap().writing.push_back((header, batch.raw));
        }
        if at_once {
            self.finish_write(end);
        }
    }

    /// The last byte of a batch is written.
    fn finish_write(&mut self, end: usize) {
        for flow in &mut self.ends[end].flows {
            if let Some((header, raw)) = flow.writing.pop_front() {
                flow.handover.handle_written();
                flow.in_flight.push_back(Packet::Batch(header, raw));
            }
        }
    }

    /// Something that `end` sent reaches the other; batches overtake each other, and what goes
    /// over one pair of connections overtakes what goes over the other.
    fn arrive(&mut self, end: usize) {
        let pick = self.rng.random::<u64>() as usize;
        if !self.ends[1 - end].connected || self.ends[end].flows.is_empty() {
            return;
        }
        let pair = pick % self.ends[end].flows.len();
        let in_flight = &mut self.ends[end].flows[pair].in_flight;
        let len = in_flight.len();
        if len == 0 {
            return;
        }
        let index = self.rng.random_range(0..len.min(8));
        let first_message = in_flight
            .iter()
            .position(|packet| matches!(packet, Packet::Message(_)));
        let index = match (&in_flight[index], first_message) {
            (Packet::Message(_), Some(first)) => first,
            (Packet::Message(_) | Packet::Batch(..), _) => index,
        };
        let packet = in_flight.remove(index).unwrap();
        let to = &mut self.ends[1 - end];
        match packet {
            Packet::Batch(header, raw) => {
                to.flows[pair].handover.handle_read();
                if to.session.inbox.handle_header(&header).unwrap() == Arrival::New {
                    to.decoding.push((header, raw));
                }
            }
            Packet::Message(Message::Acks { class, runs }) => {
                let mut acked = Vec::new();
                let outbox = &mut to.session.outbox;
                outbox.handle_acks(class, &runs, &mut acked).unwrap();
            }
            Packet::Message(Message::Missing { class, number }) => {
                to.session.outbox.handle_missing(class, number);
            }
            Packet::Message(Message::Last { batches }) => {
                to.flows[pair].handover.handle_last(batches).unwrap();
            }
            Packet::Message(Message::Drained) => {
                to.flows[pair].handover.handle_drained().unwrap();
            }
            Packet::Message(Message::Renew) => unreachable!("nobody asks for it"),
        }
        self.close_what_is_over();
    }

    /// A second pair of connections joins; the listener goes over to it at once.
    fn hand_over(&mut self) {
        if self
            .ends
            .iter()
            .all(|end| end.connected && end.flows.len() == 1)
        {
            for end in &mut self.ends {
                end.flows.push_back(Flow::default());
            }
            let listener = self.rng.random_range(0..2usize);
            self.ends[listener].flows[0].handover.retire();
        } else {
            for end in &mut self.ends {
                if end.flows.len() == 2 {
                    end.flows[0].handover.retire();
                }
            }
        }
    }

    /// Says over the old pair what the handover needs.
    fn tell_handover(&mut self, end: usize) {
        if self.ends[end].flows.len() == 2 {
            let old = &mut self.ends[end].flows[0];
            let message = old.handover.poll_message();
            let is_last = matches!(message, Some(Message::Last { .. }));
            assert!(!is_last || old.writing.is_empty());
            old.in_flight.extend(message.map(Packet::Message));
            self.close_what_is_over();
        }
    }

    /// The first end that sees the handover through closes the old pair: nothing may be lost.
    fn close_what_is_over(&mut self) {
        let over = |end: &End| end.flows.len() == 2 && end.flows[0].handover.is_over();
        if self.ends.iter().any(over) {
            for end in &mut self.ends {
                let old = end.flows.pop_front().unwrap();
                assert!(old.handover.has_all());
                assert!(old.writing.is_empty());
                assert!(!old.in_flight.iter().any(|p| matches!(p, Packet::Batch(..))));
            }
        }
    }

    fn decode(&mut self, end: usize) {
        let missing = self.chance(10);
        let pick = self.rng.random::<u64>() as usize;
        let user = &mut self.ends[end];
        if user.decoding.is_empty() {
            return;
        }
        let (header, raw) = user.decoding.swap_remove(pick % user.decoding.len());
        if missing && !header.literal {
            user.session.inbox.handle_missing(&header);
            let (class, number) = (header.class, header.number);
            let missing = Packet::Message(Message::Missing { class, number });
            user.flow().in_flight.push_back(missing);
            return;
        }
        let mut deliveries = Vec::new();
        let inbox = &mut user.session.inbox;
        inbox.handle_decoded(&header, raw, &mut deliveries).unwrap();
        for delivery in deliveries {
            self.check_delivery(end, &delivery);
            self.ends[end].unacked.push(delivery);
        }
    }

    /// Once each, in order, and what was sent.
    fn check_delivery(&mut self, end: usize, delivery: &Delivery) {
        let (next, ended) = self.ends[end].delivered.entry(delivery.stream).or_default();
        assert_eq!(delivery.seq, Seq(*next));
        assert!(!*ended);
        *next += 1;
        *ended = delivery.last;
        let sender = &self.ends[1 - end].streams[&delivery.stream];
        let index = delivery.seq.0 as usize;
        assert_eq!(delivery.raw, sender.sent[index]);
        assert_eq!(delivery.open, format!("{:?}", sender.class));
        let is_last = sender.ended && index + 1 == sender.sent.len();
        assert_eq!(delivery.last, is_last);
    }

    fn ack(&mut self, end: usize) {
        let pick = self.rng.random::<u64>() as usize;
        let end = &mut self.ends[end];
        if end.unacked.is_empty() {
            return;
        }
        let batch = end.unacked.swap_remove(pick % end.unacked.len());
        end.session
            .inbox
            .ack(batch.class, batch.number, batch.raw.len());
    }

    fn tell_acks(&mut self, end: usize) {
        self.tell_handover(end);
        let end = &mut self.ends[end];
        if !end.connected {
            return;
        }
        for class in Class::ALL {
            let runs = end.session.inbox.poll_acks(class);
            if !runs.is_empty() {
                let acks = Packet::Message(Message::Acks { class, runs });
                end.flow().in_flight.push_back(acks);
            }
        }
    }

    fn disconnect(&mut self) {
        for end in &mut self.ends {
            end.connected = false;
            end.flows.clear();
            end.decoding.clear();
        }
    }

    /// Hellos cross, and the connection may break before either of them arrives.
    fn connect(&mut self) {
        self.disconnect();
        let hellos = [0, 1].map(|end: usize| self.ends[end].session.hello());
        let arrives = [0, 1].map(|_: usize| self.chance(80));
        for end in [0, 1] {
            if arrives[end] {
                let opened = self.ends[end].session.handle_hello(&hellos[1 - end]);
                self.ends[end].opened(&opened.unwrap());
            }
        }
        if arrives != [true, true] {
            self.lonely(arrives);
        }
    }

    /// One end thinks that it is up: it sends into the void until it learns better.
    fn lonely(&mut self, up: [bool; 2]) {
        for end in [0, 1].into_iter().filter(|&end| up[end]) {
            for _ in 0..self.rng.random_range(0..10) {
                self.send(end);
                self.transmit(end);
            }
        }
        self.disconnect();
    }

    fn restart(&mut self, end: usize) {
        self.disconnect();
        self.ends[end] = End::new(self.next_instance);
        self.next_instance += 1;
    }

    fn check_bounds(&self) {
        for end in &self.ends {
            for class in Class::ALL {
                let max = unacked_bytes_max(class);
                assert!(end.session.outbox.gauge(class).unacked_bytes <= max);
                assert!(end.session.inbox.unacked_bytes(class) <= max);
            }
        }
    }

    /// With a good link and no more input, everything arrives and is acknowledged.
    fn settle(&mut self) {
        self.disconnect();
        let hellos = [0, 1].map(|end: usize| self.ends[end].session.hello());
        for end in [0, 1] {
            let opened = self.ends[end].session.handle_hello(&hellos[1 - end]);
            self.ends[end].opened(&opened.unwrap());
        }
        for _ in 0..20_000 {
            for end in [0, 1] {
                self.transmit(end);
                self.finish_write(end);
                self.arrive(end);
                self.decode(end);
                self.ack(end);
                self.tell_acks(end);
            }
            if self.is_settled() {
                return;
            }
        }
        panic!("never settles");
    }

    fn is_settled(&self) -> bool {
        let ends = [
            (&self.ends[0], &self.ends[1]),
            (&self.ends[1], &self.ends[0]),
        ];
        ends.iter().all(|(from, to)| {
            let delivered = |id: &StreamId| to.delivered.get(id).map_or(0, |(next, _)| *next);
            let all = |(id, s): (&StreamId, &OutUser)| delivered(id) == s.sent.len() as u64;
            let gauges = Class::ALL.map(|class| from.session.outbox.gauge(class));
            from.streams.iter().all(all) && gauges.iter().all(|g| *g == Gauge::default())
        })
    }
}

#[test]
fn batches_arrive_once_and_in_order_whatever_breaks() {
    let seeds = std::env::var("STRAIT_SIMULATION_SEEDS");
    let seeds = seeds
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(SEEDS_DEFAULT);
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.settle();
        });
        if let Err(panic) = run {
            eprintln!("failing seed: {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
