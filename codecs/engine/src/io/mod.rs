//! The media thread and what it shares with others: the core under one lock, an inbox of units, the events.
//!
//! The thread waits in epoll, reads a socket's datagrams in one call, gives them to the core and sends what comes out,
//! all in the same wake-up. Python's threads take the lock for moments; what their calls make the core send lies in
//! `Core::out` until the media thread, woken by `Signal`, takes it. The media thread never waits for Python.

pub mod events;
pub mod outbound;
pub mod poll;
pub mod ports;
mod ration;
pub mod socket;
mod worker;

use crate::bus::BusError;
use crate::core::Core;
use crate::output::Event;
use crate::unit::{IdMap, LegId, Ns, QueueId, TrackId, Unit, UnitRef};
use events::Events;
use parking_lot::Mutex;
use poll::{Later, Poller, Signal};
use ports::Ports;
use socket::Socket;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Units that wait for the media thread, which takes them in its next wake-up; beyond, its host is drowning.
const INBOX_UNITS: usize = 8192;

/// How long the first of them waits for others: who writes from Python, and mixers, write several in a row, and waking
/// up for each costs more than the units.
const INBOX_WAITS: Ns = 1_000_000;

pub struct Config {
    pub udp_ports: (u16, u16),
    pub gso: bool,
    pub receive_buffer_bytes: u32,
}

/// A leg's sockets. They close when the media thread lets go of them.
pub struct Sockets {
    pub rtp: Socket,
    pub rtcp: Option<Socket>,
}

pub struct State {
    pub core: Core,
    /// Sockets that the media thread hasn't taken over yet.
    opened: Vec<(LegId, Arc<Sockets>)>,
    /// Legs that shall swap theirs.
    exchanged: Vec<(LegId, LegId)>,
    /// When the media thread wakes by itself.
    wakes_at: Option<Ns>,
    signals: IdMap<QueueId, Arc<Signal>>,
}

#[derive(Default)]
pub struct Counters {
    pub packets_in: AtomicU64,
    pub bytes_in: AtomicU64,
    pub packets_out: AtomicU64,
    pub bytes_out: AtomicU64,
    pub dropped_out: AtomicU64,
    pub units_dropped: AtomicU64,
    pub send_calls: AtomicU64,
    pub wakeups: AtomicU64,
    pub refused: AtomicU64,
    /// The longest time between waking and waiting again since it was last asked for.
    pub loop_max_ns: AtomicU64,
}

/// What the threads share.
pub struct Shared {
    state: Mutex<State>,
    inbox: Mutex<Vec<Unit>>,
    ports: Mutex<Ports>,
    pub events: Events,
    pub counters: Counters,
    poller: Poller,
    wake: Signal,
    filled: Later,
    changed: AtomicBool,
    closing: AtomicBool,
    gso: bool,
    receive_buffer_bytes: u32,
}

/// The media thread's owner.
pub struct Engine {
    pub shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    cpu: Mutex<CpuClock>,
}

/// Which of a leg's sockets an epoll token means.
const RTCP_BIT: u64 = 1 << 32;
const WAKE: u64 = u64::MAX;
const FILLED: u64 = u64::MAX - 1;

impl Engine {
    pub fn start(config: &Config) -> io::Result<Engine> {
        let (low, high) = config.udp_ports;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                core: Core::new(random()),
                opened: Vec::new(),
                exchanged: Vec::new(),
                wakes_at: None,
                signals: IdMap::default(),
            }),
            inbox: Mutex::default(),
            ports: Mutex::new(Ports::new(low, high, random())),
            events: Events::new()?,
            counters: Counters::default(),
            poller: Poller::new()?,
            wake: Signal::new()?,
            filled: Later::new(INBOX_WAITS)?,
            changed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            gso: config.gso,
            receive_buffer_bytes: config.receive_buffer_bytes,
        });
        shared.poller.add(shared.wake.raw(), WAKE)?;
        shared.poller.add(shared.filled.raw(), FILLED)?;
        let thread = std::thread::Builder::new().name("media".into()).spawn({
            let shared = shared.clone();
            move || worker::Worker::new(shared).run()
        })?;
        let cpu = Mutex::new(CpuClock::of(&thread));
        Ok(Engine { shared, thread: Mutex::new(Some(thread)), cpu })
    }

    /// Stops the thread and closes every socket. Idempotent.
    pub fn close(&self) {
        self.shared.closing.store(true, Relaxed);
        self.shared.wake.raise();
        if let Some(thread) = self.thread.lock().take() {
            self.cpu.lock().stop();
            // The thread catches its panics; were one to escape, there would be nothing left to do about it here.
            let _ = thread.join();
        }
    }

    pub fn cpu_ns(&self) -> u64 {
        self.cpu.lock().read()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Something that anybody but the media thread does with the core. Never holds the lock longer than `act` takes.
    pub fn with_core<R>(&self, act: impl FnOnce(&mut Core, Ns) -> R) -> R {
        let mut state = self.state.lock();
        let result = act(&mut state.core, poll::now());
        let earlier = state.core.next_wake().is_some_and(|at| state.wakes_at.is_none_or(|planned| at < planned));
        let pending = earlier || state.core.has_output();
        drop(state);
        if pending {
            self.wake.raise();
        }
        result
    }

    /// Units of tracks that Python or a mixer writes. Never waits for the media thread.
    pub fn submit(&self, units: &mut Vec<Unit>) {
        if units.is_empty() {
            return;
        }
        let mut inbox = self.inbox.lock();
        let room = INBOX_UNITS.saturating_sub(inbox.len());
        if units.len() > room {
            self.counters.units_dropped.fetch_add((units.len() - room) as u64, Relaxed);
            units.truncate(room);
        }
        inbox.append(units);
        drop(inbox);
        self.filled.raise();
    }

    pub fn say(&self, event: Event) {
        self.events.push_all(&mut vec![event]);
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Binds a leg's sockets on free ports. `open` puts the leg into the core.
    pub fn open_sockets<E: From<io::Error>>(
        &self,
        host: IpAddr,
        pair: bool,
        dscp: u8,
        open: impl FnOnce(&mut Core, SocketAddr, Option<SocketAddr>, Ns) -> Result<LegId, E>,
    ) -> Result<(LegId, SocketAddr, Option<SocketAddr>), E> {
        let now = poll::now();
        let sockets = Arc::new(self.bind(host, pair, dscp, now)?);
        let (rtp, rtcp) = (sockets.rtp.local, sockets.rtcp.as_ref().map(|socket| socket.local));
        let mut state = self.state.lock();
        let opened = open(&mut state.core, rtp, rtcp, now);
        let Ok(leg) = opened else {
            drop(state);
            self.give_back(&sockets);
            return opened.map(|leg| (leg, rtp, rtcp));
        };
        state.opened.push((leg, sockets.clone()));
        self.changed.store(true, Relaxed);
        drop(state);
        let added = self.poller.add(sockets.rtp.raw(), u64::from(leg.0)).and_then(|()| match &sockets.rtcp {
            Some(rtcp) => self.poller.add(rtcp.raw(), u64::from(leg.0) | RTCP_BIT),
            None => Ok(()),
        });
        if let Err(error) = added {
            self.with_core(|core, now| core.close_leg(leg, now));
            return Err(error.into());
        }
        self.wake.raise();
        Ok((leg, rtp, rtcp))
    }

    /// Each of two legs goes on, with its keys, receivers and senders, on the other's sockets.
    pub fn exchange_sockets(&self, one: LegId, other: LegId) {
        self.state.lock().exchanged.push((one, other));
        self.changed.store(true, Relaxed);
        self.wake.raise();
    }

    fn bind(&self, host: IpAddr, pair: bool, dscp: u8, now: Ns) -> io::Result<Sockets> {
        let mut ports = self.ports.lock();
        let bind = |port| Socket::bind(SocketAddr::new(host, port), self.receive_buffer_bytes, dscp);
        let mut found = None;
        for port in ports.candidates(pair, now) {
            let both =
                bind(port).and_then(|rtp| Ok(Sockets { rtp, rtcp: if pair { Some(bind(port + 1)?) } else { None } }));
            match both {
                Ok(sockets) => {
                    found = Some((port, sockets));
                    break;
                }
                // Somebody else's port.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let (port, sockets) =
            found.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "no UDP port of udp_ports is free"))?;
        ports.take(port, pair);
        Ok(sockets)
    }

    fn give_back(&self, sockets: &Sockets) {
        let now = poll::now();
        let mut ports = self.ports.lock();
        ports.give_back(sockets.rtp.local.port(), now);
        if let Some(rtcp) = &sockets.rtcp {
            ports.give_back(rtcp.local.port(), now);
        }
    }

    /// A reader of these tracks whose signal is raised when its queue has something. `limit`: nanoseconds and bytes.
    pub fn subscribe(
        &self,
        tracks: &[TrackId],
        limit: (Ns, usize),
        wake_every: Ns,
        from_cache: bool,
        signal: &Arc<Signal>,
    ) -> Result<QueueId, BusError> {
        let mut state = self.state.lock();
        let id = state.core.subscribe(tracks, limit, Some(wake_every), from_cache, poll::now())?;
        state.signals.insert(id, signal.clone());
        drop(state);
        self.wake.raise();
        Ok(id)
    }

    /// What is queued for a reader. Its signal stays raised while there is more, or when nothing will come any more.
    pub fn take_units(&self, reader: QueueId, signal: &Signal, limit: usize) -> Vec<UnitRef> {
        let mut units = Vec::new();
        let mut state = self.state.lock();
        let Some(reader) = state.core.bus.reader_mut(reader) else { return units };
        reader.queue.take(limit, &mut units);
        if reader.queue.is_empty() && !reader.queue.ended() {
            signal.lower();
        }
        units
    }

    pub fn close_reader(&self, reader: QueueId) {
        let mut state = self.state.lock();
        state.core.close_reader(reader);
        state.signals.remove(&reader);
    }
}

/// Lets the calling thread run as soon as it has something to do, whatever else the host computes (CAP_SYS_NICE, or
/// systemd's LimitRTPRIO=). It works for microseconds at a time, so nobody waits for it.
fn run_at_once() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: plain system call; 0 is the calling thread.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const priority) };
    if done < 0 {
        prefer(-11);
    }
}

/// Lets the calling thread go before others where the host allows it (CAP_SYS_NICE, or systemd's LimitNICE=).
pub fn prefer(nice: i32) {
    // SAFETY: plain system call; 0 is the calling thread. Refused, it goes on at the usual priority.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

/// CPU time of a thread, readable after its end.
pub struct CpuClock {
    clock: Option<libc::clockid_t>,
    last: u64,
}

impl CpuClock {
    pub fn of(thread: &JoinHandle<()>) -> CpuClock {
        let mut clock = 0;
        // SAFETY: the handle proves that the thread hasn't been joined.
        let done = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &raw mut clock) };
        CpuClock { clock: (done == 0).then_some(clock), last: 0 }
    }

    pub fn read(&mut self) -> u64 {
        if let Some(clock) = self.clock {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` is valid; a clock of a thread that ended gives an error and leaves it alone.
            if unsafe { libc::clock_gettime(clock, &raw mut time) } == 0 {
                self.last = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
            }
        }
        self.last
    }

    fn stop(&mut self) {
        self.read();
        self.clock = None;
    }
}

/// From the operating system by way of the standard library's hash keys; nothing secret hangs on it.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
