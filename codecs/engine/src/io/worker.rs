//! The media thread's loop.

use super::outbound::Outbound;
use super::poll::{self, Signal};
use super::ration::Ration;
use super::socket::Inbound;
use super::{Shared, Sockets, State, FILLED, RTCP_BIT, WAKE};
use crate::output::{Event, Output, Path};
use crate::unit::{IdMap, LegId, Ns, QueueId, Unit};
use parking_lot::MutexGuard;
use std::io;
use std::os::fd::RawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;

/// Datagrams a receive call, and sockets a wake-up.
const BATCH: usize = 64;
const READY: usize = 256;
const AFTER_A_FAULT: Duration = Duration::from_millis(10);
/// A network that fails is said at most this often for each leg.
const REPORT_EVERY: Ns = 1_000_000_000;

pub struct Worker {
    shared: Arc<Shared>,
    sockets: IdMap<LegId, Arc<Sockets>>,
    inbound: Inbound,
    outbound: Outbound,
    out: Output,
    wakes: Vec<QueueId>,
    signals: Vec<Arc<Signal>>,
    closed: Vec<LegId>,
    units: Vec<Unit>,
    failures: IdMap<LegId, Ns>,
    next: Option<Ns>,
}

impl Worker {
    pub fn new(shared: Arc<Shared>) -> Worker {
        let outbound = Outbound::new(shared.gso);
        Worker {
            shared,
            sockets: IdMap::default(),
            inbound: Inbound::new(BATCH),
            outbound,
            out: Output::default(),
            wakes: Vec::new(),
            signals: Vec::new(),
            closed: Vec::new(),
            units: Vec::new(),
            failures: IdMap::default(),
            next: None,
        }
    }

    /// Until the engine closes. Whatever panics, the thread goes on.
    pub fn run(mut self) {
        super::run_at_once();
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            let text = crate::core::panic_text(&*panic);
            self.shared.say(Event::Fault { leg: LegId(0), text });
            // Were it to happen each time, the host must stay usable.
            std::thread::sleep(AFTER_A_FAULT);
        }
        self.end();
    }

    fn work(&mut self) {
        let shared = self.shared.clone();
        let mut ready = vec![libc::epoll_event { events: 0, u64: 0 }; READY];
        let mut ration = Ration::new();
        loop {
            let pause = ration.pause(poll::now());
            if pause > 0 {
                std::thread::sleep(Duration::from_nanos(pause));
            }
            let timeout = self.next.map(|at| at.saturating_sub(poll::now()));
            let count = match shared.poller.wait(&mut ready, timeout) {
                Ok(count) => count,
                Err(error) => {
                    // Our own descriptor is broken: nothing that we could wait for any more.
                    shared.say(Event::Fault { leg: LegId(0), text: format!("the media thread can't wait: {error}") });
                    return;
                }
            };
            let woken = poll::now();
            ration.spend(woken, shared.counters.packets_in.load(Relaxed));
            shared.counters.wakeups.fetch_add(1, Relaxed);
            for event in &ready[..count] {
                match event.u64 {
                    WAKE => shared.wake.lower(),
                    FILLED => shared.filled.lower(),
                    token => self.receive(token, woken),
                }
            }
            self.turn();
            if shared.is_closing() {
                return;
            }
            shared.counters.loop_max_ns.fetch_max(poll::now() - woken, Relaxed);
        }
    }

    /// One socket's datagrams in, and out what they became.
    fn receive(&mut self, token: u64, now: Ns) {
        let leg = LegId(token as u32);
        if self.shared.changed.load(Relaxed) {
            self.turn();
        }
        let Some(sockets) = self.sockets.get(&leg) else { return };
        let (socket, path) = match (&sockets.rtcp, token & RTCP_BIT != 0) {
            (Some(rtcp), true) => (rtcp, Path::Rtcp),
            _ => (&sockets.rtp, Path::Rtp),
        };
        match self.inbound.receive(socket.raw()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return self.report(leg, &error, now),
        }
        let shared = self.shared.clone();
        let mut bytes_in = 0;
        let mut state = shared.state.lock();
        let (inbound, core) = (&mut self.inbound, &mut state.core);
        // What panics inside the leg is caught in the core, which knows what to do about it. This is for the rest.
        let done = catch_unwind(AssertUnwindSafe(|| {
            for at in 0..inbound.len() {
                let (from, bytes) = inbound.get(at);
                bytes_in += bytes.len() as u64;
                core.receive(leg, path, from, bytes, now);
            }
        }));
        self.note(leg, done);
        self.take(&mut state);
        drop(state);
        shared.counters.packets_in.fetch_add(self.inbound.len() as u64, Relaxed);
        shared.counters.bytes_in.fetch_add(bytes_in, Relaxed);
        self.deliver(now);
    }

    /// Swaps two legs' sockets; nothing happens when one of them has closed meanwhile.
    fn exchange(&mut self, one: LegId, other: LegId) {
        let (Some(first), Some(second)) = (self.sockets.get(&one).cloned(), self.sockets.get(&other).cloned()) else {
            return;
        };
        for (leg, sockets) in [(one, second), (other, first)] {
            if let Err(error) = self.shared.poller.rename(sockets.rtp.raw(), u64::from(leg.0)) {
                self.out.events.push(Event::LegFailed { leg, text: error.to_string() });
            }
            self.sockets.insert(leg, sockets);
        }
    }

    /// What isn't a datagram: changes, units from Python and mixers, timers.
    fn turn(&mut self) {
        let shared = self.shared.clone();
        let now = poll::now();
        std::mem::swap(&mut self.units, &mut shared.inbox.lock());
        let mut state = shared.state.lock();
        self.sockets.extend(state.opened.drain(..));
        for (one, other) in state.exchanged.drain(..) {
            self.exchange(one, other);
        }
        shared.changed.store(false, Relaxed);
        // A panic here is ours and concerns no single leg (those are caught in the core).
        let units = &mut self.units;
        let core = &mut state.core;
        let done = catch_unwind(AssertUnwindSafe(|| {
            for unit in units.drain(..) {
                core.publish(unit, now);
            }
            core.poll(now);
        }));
        self.note(LegId(0), done);
        self.take(&mut state);
        self.next = state.core.next_wake();
        state.wakes_at = self.next;
        drop(state);
        self.deliver(now);
    }

    fn note(&mut self, leg: LegId, done: std::thread::Result<()>) {
        if let Err(panic) = done {
            self.out.events.push(Event::Fault { leg, text: crate::core::panic_text(&*panic) });
        }
    }

    /// Swaps the core's output out, so that it is sent without the lock.
    fn take(&mut self, state: &mut MutexGuard<'_, State>) {
        let core = &mut state.core;
        std::mem::swap(&mut self.out.bytes, &mut core.out.bytes);
        std::mem::swap(&mut self.out.datagrams, &mut core.out.datagrams);
        self.out.events.append(&mut core.out.events);
        self.closed.append(&mut core.closed);
        self.wakes.append(&mut core.wakes);
        for reader in self.wakes.drain(..) {
            self.signals.extend(state.signals.get(&reader).cloned());
        }
    }

    fn deliver(&mut self, now: Ns) {
        if !self.out.datagrams.is_empty() {
            self.send(now);
        }
        for signal in self.signals.drain(..) {
            signal.raise();
        }
        if !self.closed.is_empty() {
            for leg in std::mem::take(&mut self.closed) {
                self.failures.remove(&leg);
                if let Some(sockets) = self.sockets.remove(&leg) {
                    self.shared.give_back(&sockets);
                }
            }
        }
        self.shared.events.push_all(&mut self.out.events);
    }

    fn send(&mut self, now: Ns) {
        let sockets = &self.sockets;
        let find = |leg: LegId, path: Path| -> Option<RawFd> {
            let sockets = sockets.get(&leg)?;
            Some(match (path, &sockets.rtcp) {
                (Path::Rtcp, Some(rtcp)) => rtcp.raw(),
                _ => sockets.rtp.raw(),
            })
        };
        let mut failures = Vec::new();
        let sent =
            self.outbound.send(&self.out.datagrams, &self.out.bytes, find, |leg, error| failures.push((leg, error)));
        self.out.bytes.clear();
        self.out.datagrams.clear();
        let counters = &self.shared.counters;
        counters.packets_out.fetch_add(sent.packets, Relaxed);
        counters.bytes_out.fetch_add(sent.bytes, Relaxed);
        counters.dropped_out.fetch_add(sent.dropped, Relaxed);
        counters.send_calls.fetch_add(sent.calls, Relaxed);
        for (leg, error) in failures {
            self.report(leg, &error, now);
        }
    }

    fn report(&mut self, leg: LegId, error: &io::Error, now: Ns) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.shared.counters.refused.fetch_add(1, Relaxed);
            return;
        }
        let last = self.failures.entry(leg).or_insert(0);
        if *last == 0 || now >= *last + REPORT_EVERY {
            *last = now;
            self.out.events.push(Event::LegFailed { leg, text: error.to_string() });
        }
    }

    /// The last datagrams (RTCP BYE) go out, then everything is closed.
    fn end(&mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        state.core.close(poll::now());
        self.take(&mut state);
        drop(state);
        self.deliver(poll::now());
    }
}
