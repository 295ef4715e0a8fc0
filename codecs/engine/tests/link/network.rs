//! The world between two legs: time, a bad link, and what came out.

use _engine::bus::wish::Wish;
use _engine::leg::{Leg, LegConfig};
use _engine::output::{Event, Output, Path};
use _engine::unit::{LegId, Ns, ReceiverId, SenderId, Unit, UnitRef};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

pub const MS: Ns = 1_000_000;

/// splitmix64: the same numbers for the same seed, for ever.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    /// True so many times of 1000.
    fn per_mille(&mut self, chance: u64) -> bool {
        self.next() % 1000 < chance
    }
}

/// One direction of a link.
#[derive(Clone, Copy, Default)]
pub struct Bad {
    pub delay: Ns,
    /// Up to this much more, without changing the order.
    pub jitter: Ns,
    /// Of 1000.
    pub lost: u64,
    pub doubled: u64,
    /// Held back so that others overtake.
    pub held_back: u64,
    pub held_back_by: Ns,
}

impl Bad {
    pub fn delay(ms: u64) -> Bad {
        Bad { delay: ms * MS, ..Bad::default() }
    }

    pub fn lost(self, per_mille: u64) -> Bad {
        Bad { lost: per_mille, ..self }
    }
}

/// A leg and everything that it said.
pub struct Peer {
    pub leg: Leg,
    pub address: SocketAddr,
    wake: Option<Ns>,
    pub units: Vec<Unit>,
    pub events: Vec<(Ns, Event)>,
    /// Key frames that the other side wanted from a sender, and when.
    pub wishes: Vec<(Ns, SenderId)>,
    /// What it sent: when, and how many bytes.
    pub sent: Vec<(Ns, usize)>,
}

/// A datagram as its sender gave it to the link.
pub struct Tapped {
    pub at: Ns,
    /// Which peer's.
    pub from: usize,
    /// From the RTCP socket.
    pub rtcp: bool,
    pub bytes: Vec<u8>,
}

type Flying = Reverse<(Ns, u64, usize, bool, SocketAddr, Vec<u8>)>;

pub struct World {
    pub now: Ns,
    pub peers: [Peer; 2],
    /// From peer 0 to 1, and back.
    pub links: [Bad; 2],
    /// Where packets come from as their receiver sees them, if not the sender's address (NAT).
    pub seen_as: [Option<SocketAddr>; 2],
    /// Nothing of a direction arrives.
    pub cut: [bool; 2],
    pub random: Random,
    flying: BinaryHeap<Flying>,
    count: u64,
    last_arrival: [Ns; 2],
    out: Output,
    /// Every datagram of a direction before the link, when a test wants to see them.
    pub tap: Option<Vec<Tapped>>,
}

pub fn config() -> LegConfig {
    LegConfig {
        secure: false,
        learn: true,
        silence_ms: 5000,
        rtcp_mux: true,
        label: String::new(),
        unix_offset_ns: 1_800_000_000_000_000_000,
    }
}

impl World {
    /// Two plain legs that know each other's address, at one second past the clock's origin.
    pub fn new(seed: u64, link: Bad) -> World {
        World::with(seed, link, [config(), config()])
    }

    pub fn with(seed: u64, link: Bad, configs: [LegConfig; 2]) -> World {
        let mut random = Random(seed);
        let now = 1000 * MS;
        let mut at = 0;
        let peers = configs.map(|config| {
            at += 1;
            Peer {
                leg: Leg::new(LegId(at), config, random.next(), now),
                address: format!("10.0.0.{at}:4000").parse().unwrap(),
                wake: None,
                units: vec![],
                events: vec![],
                wishes: vec![],
                sent: vec![],
            }
        });
        let mut world = World {
            now,
            peers,
            links: [link; 2],
            seen_as: [None; 2],
            cut: [false; 2],
            random,
            flying: BinaryHeap::new(),
            count: 0,
            last_arrival: [0; 2],
            out: Output::default(),
            tap: None,
        };
        let addresses = [world.peers[0].address, world.peers[1].address];
        world.act(0, |leg, now, out| leg.set_peer(addresses[1], None, now, out));
        world.act(1, |leg, now, out| leg.set_peer(addresses[0], None, now, out));
        world
    }

    /// Something that is done with a leg now; what it sends goes onto the link.
    pub fn act<R>(&mut self, peer: usize, act: impl FnOnce(&mut Leg, Ns, &mut Output) -> R) -> R {
        let mut out = std::mem::take(&mut self.out);
        let result = act(&mut self.peers[peer].leg, self.now, &mut out);
        self.take(peer, &mut out);
        self.out = out;
        result
    }

    fn take(&mut self, from: usize, out: &mut Output) {
        for datagram in out.datagrams.drain(..) {
            let bytes = out.bytes[datagram.start..datagram.start + datagram.len].to_vec();
            assert_eq!(datagram.leg, self.peers[from].leg.id());
            self.peers[from].sent.push((self.now, bytes.len()));
            if let Some(tap) = &mut self.tap {
                tap.push(Tapped { at: self.now, from, rtcp: datagram.path == Path::Rtcp, bytes: bytes.clone() });
            }
            if datagram.to.ip() == self.peers[1 - from].address.ip() || self.seen_as[1 - from] == Some(datagram.to) {
                self.carry(from, datagram.path == Path::Rtcp, bytes);
            }
        }
        out.bytes.clear();
        let peer = &mut self.peers[from];
        peer.units.append(&mut out.units);
        peer.events.extend(out.events.drain(..).map(|event| (self.now, event)));
        peer.wishes.extend(out.keyframe_wishes.drain(..).map(|sender| (self.now, sender)));
        // a call that changes nothing about time leaves no wake
        peer.wake = out.wake.take().or(peer.wake);
    }

    fn carry(&mut self, from: usize, rtcp: bool, bytes: Vec<u8>) {
        let link = self.links[from];
        let copies = 1 + u64::from(self.random.per_mille(link.doubled));
        for _ in 0..copies {
            if self.random.per_mille(link.lost) || self.cut[from] {
                continue;
            }
            let jitter = if link.jitter == 0 { 0 } else { self.random.next() % link.jitter };
            let mut arrival = (self.now + link.delay + jitter).max(self.last_arrival[from]);
            if self.random.per_mille(link.held_back) {
                arrival += link.held_back_by;
            } else {
                self.last_arrival[from] = arrival;
            }
            self.inject(1 - from, arrival, rtcp, self.seen_as[from].unwrap_or(self.peers[from].address), bytes.clone());
        }
    }

    /// A datagram from anywhere.
    pub fn inject(&mut self, to: usize, arrival: Ns, rtcp: bool, from: SocketAddr, bytes: Vec<u8>) {
        self.count += 1;
        self.flying.push(Reverse((arrival, self.count, to, rtcp, from, bytes)));
    }

    /// Lets time pass.
    pub fn run_until(&mut self, until: Ns) {
        loop {
            let arrival = self.flying.peek().map(|Reverse(flying)| flying.0);
            let wakes = [self.peers[0].wake, self.peers[1].wake];
            let Some(next) = wakes.into_iter().flatten().chain(arrival).min().filter(|&next| next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some(Reverse((_, _, to, rtcp, from, mut bytes))) = self.flying.pop() else { break };
                let path = if rtcp { Path::Rtcp } else { Path::Rtp };
                self.act(to, |leg, now, out| leg.receive(path, from, &mut bytes, now, out));
            } else {
                let at = usize::from(wakes[0] != Some(next));
                self.peers[at].wake = None;
                self.act(at, |leg, now, out| leg.poll(now, out));
                assert!(self.peers[at].wake.is_none_or(|wake| wake > self.now), "a wake that was handled comes again");
            }
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, ms: u64) {
        self.run_until(self.now + ms * MS);
    }

    pub fn send(&mut self, peer: usize, sender: SenderId, unit: &UnitRef) {
        self.act(peer, |leg, now, out| leg.send_unit(sender, unit, now, out));
    }

    pub fn count(&self, peer: usize, which: impl Fn(&Event) -> bool) -> usize {
        self.peers[peer].events.iter().filter(|event| which(&event.1)).count()
    }
}

/// What `core` does about key frames: asks the source while one is needed, with back-off.
#[derive(Default)]
pub struct Asker {
    wish: Wish,
    seen: usize,
    pub asked: Vec<Ns>,
}

impl Asker {
    /// Looks at the units that came since the last look.
    pub fn look(&mut self, world: &mut World, peer: usize, receiver: ReceiverId) {
        let mut attempts = vec![];
        for unit in &world.peers[peer].units[self.seen..] {
            if unit.keyframe {
                self.wish.came(world.now);
            } else if !unit.contiguous {
                attempts.extend(self.wish.want(world.now, true));
            }
        }
        self.seen = world.peers[peer].units.len();
        attempts.extend(self.wish.poll(world.now, true));
        for attempt in attempts {
            self.asked.push(world.now);
            world.act(peer, |leg, now, out| leg.request_keyframe(receiver, attempt, now, out));
        }
    }
}
