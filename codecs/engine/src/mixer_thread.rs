//! The mixers' threads: a tick every 20 ms on an absolute schedule, never on the media thread.
//!
//! A mixer hears its inputs through a bounded queue of the bus, and what it makes goes back through the media thread's
//! inbox, so that neither of the two ever waits for the other.

use crate::audio::{Level, Mixer, OutputId, TICK_NS};
use crate::io::{self, poll, CpuClock, Shared};
use crate::output::Event;
use crate::unit::{Ns, QueueId, TrackId, Unit, UnitRef};
use parking_lot::{Condvar, Mutex};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::JoinHandle;

/// How much of an input may wait; the mixer's own jitter buffers come behind it.
pub const QUEUE_LIMIT: Ns = 500_000_000;
pub const QUEUE_BYTES: usize = 1 << 20;
/// Loudness is told every fifth tick.
const LEVELS_EVERY: u64 = 5;
/// What the listeners lose is asked for every second.
const LOSS_EVERY: u64 = 50;
/// Held up longer than this, the ticks in between are left out.
const MAX_BEHIND: Ns = 200_000_000;
const UNITS_A_TICK: usize = 4096;
const MAX_THREADS: usize = 4;
/// After the media thread, before everybody else.
const NICE: i32 = -10;

/// One mixer, shared by its handle and its thread.
pub struct Cell {
    pub queue: QueueId,
    pub label: String,
    pub inner: Mutex<Inner>,
    closed: AtomicBool,
}

pub struct Inner {
    pub mixer: Mixer,
    pub inputs: Vec<TrackId>,
    /// Streams that the outputs publish.
    pub outputs: Vec<(OutputId, u32)>,
    ticks: u64,
    /// A unit came since loudness was last told.
    fed: bool,
}

impl Cell {
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }
}

pub struct MixerThreads {
    shared: Arc<Shared>,
    workers: Mutex<Vec<Worker>>,
}

struct Worker {
    list: Arc<List>,
    thread: JoinHandle<()>,
    cpu: CpuClock,
}

#[derive(Default)]
struct List {
    cells: Mutex<Vec<Arc<Cell>>>,
    changed: Condvar,
    closing: AtomicBool,
}

impl MixerThreads {
    pub fn new(shared: Arc<Shared>) -> MixerThreads {
        MixerThreads { shared, workers: Mutex::default() }
    }

    /// Puts a new mixer on the thread that has fewest.
    pub fn open(&self, queue: QueueId, label: &str) -> std::io::Result<Arc<Cell>> {
        let inner = Inner { mixer: Mixer::new(), inputs: Vec::new(), outputs: Vec::new(), ticks: 0, fed: false };
        let cell =
            Arc::new(Cell { queue, label: label.to_owned(), inner: Mutex::new(inner), closed: AtomicBool::new(false) });
        let mut workers = self.workers.lock();
        let limit = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let least = workers.iter().map(|worker| worker.list.cells.lock().len()).min();
        if workers.len() < limit && least.is_none_or(|count| count > 0) {
            let list = Arc::new(List::default());
            let thread = std::thread::Builder::new().name("mixer".into()).spawn({
                let (list, shared) = (list.clone(), self.shared.clone());
                move || run(&list, &shared)
            })?;
            let cpu = CpuClock::of(&thread);
            workers.push(Worker { list, thread, cpu });
        }
        if let Some(worker) = workers.iter().min_by_key(|worker| worker.list.cells.lock().len()) {
            worker.list.cells.lock().push(cell.clone());
            worker.list.changed.notify_one();
        }
        Ok(cell)
    }

    pub fn cpu_ns(&self) -> u64 {
        self.workers.lock().iter_mut().map(|worker| worker.cpu.read()).sum()
    }

    /// Ends the threads. Idempotent.
    pub fn close(&self) {
        for worker in self.workers.lock().drain(..) {
            worker.list.closing.store(true, Relaxed);
            worker.list.changed.notify_all();
            // A panic in a mixer is caught in its tick.
            let _ = worker.thread.join();
        }
    }
}

fn run(list: &List, shared: &Shared) {
    io::prefer(NICE);
    let mut cells: Vec<Arc<Cell>> = Vec::new();
    let mut scratch = Scratch::default();
    let mut due = poll::now();
    loop {
        {
            let mut listed = list.cells.lock();
            listed.retain(|cell| !cell.closed.load(Relaxed));
            while listed.is_empty() && !list.closing.load(Relaxed) {
                list.changed.wait(&mut listed);
                due = poll::now();
            }
            cells.clone_from(&listed);
        }
        if list.closing.load(Relaxed) {
            return;
        }
        let now = poll::now();
        if now < due {
            std::thread::sleep(std::time::Duration::from_nanos(due - now));
        } else if now - due > MAX_BEHIND {
            due = now;
        }
        for cell in &cells {
            tick(cell, due, shared, &mut scratch);
        }
        due += TICK_NS;
    }
}

#[derive(Default)]
struct Scratch {
    inbound: Vec<UnitRef>,
    outbound: Vec<Unit>,
    levels: Vec<Level>,
}

fn tick(cell: &Cell, due: Ns, shared: &Shared, scratch: &mut Scratch) {
    let Scratch { inbound, outbound, levels } = scratch;
    inbound.clear();
    shared.with_core(|core, _| {
        if let Some(reader) = core.bus.reader_mut(cell.queue) {
            reader.queue.take(UNITS_A_TICK, inbound);
        }
    });
    let mut inner = cell.inner.lock();
    let Inner { mixer, ticks, fed, .. } = &mut *inner;
    if *ticks % LOSS_EVERY == 0 {
        shared.with_core(|core, _| mixer.hear_of_loss(|track| core.loss_of_listeners(track)));
    }
    let done = catch_unwind(AssertUnwindSafe(|| {
        for unit in inbound.iter() {
            mixer.push(unit, unit.arrival);
        }
        mixer.tick(due, outbound);
        *fed |= !inbound.is_empty();
        *ticks += 1;
        if *ticks % LEVELS_EVERY == 0 && std::mem::take(fed) {
            mixer.levels(levels);
            let levels = levels.iter().map(|level| (level.track, level.dbov, level.active)).collect();
            shared.say(Event::Levels { mixer: cell.queue.0, levels });
        }
    }));
    if let Err(panic) = done {
        // The mixer's state can't be trusted any more; others on this thread go on.
        outbound.clear();
        inner.mixer = Mixer::new();
        cell.close();
        let text = format!("mixer {} ({}): {}", cell.queue.0, cell.label, crate::core::panic_text(&*panic));
        shared.say(Event::Fault { leg: crate::unit::LegId(0), text });
    }
    drop(inner);
    shared.submit(outbound);
}
