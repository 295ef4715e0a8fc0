//! Events on their way to Python: bounded, so that a daemon that stalls loses the least first.

use super::poll::Signal;
use crate::output::Event;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;

const CAPACITY: usize = 16_384;

pub struct Events {
    queue: Mutex<Queue>,
    pub signal: Signal,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// STUN and DTLS among them: their senders repeat them, so they are dropped first.
    datagrams: usize,
    dropped: u64,
}

impl Events {
    pub fn new() -> io::Result<Events> {
        Ok(Events { queue: Mutex::default(), signal: Signal::new()? })
    }

    pub fn push_all(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        events.drain(..).for_each(|event| queue.push(event));
        drop(queue);
        self.signal.raise();
    }

    pub fn take(&self, limit: usize) -> Vec<Event> {
        let mut queue = self.queue.lock();
        let count = limit.min(queue.events.len());
        let taken: Vec<Event> = queue.events.drain(..count).collect();
        queue.datagrams -= taken.iter().filter(|event| is_datagram(event)).count();
        if queue.events.is_empty() {
            self.signal.lower();
        }
        taken
    }

    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }
}

impl Queue {
    fn push(&mut self, event: Event) {
        if self.events.len() >= CAPACITY {
            self.dropped += 1;
            if is_datagram(&event) {
                return;
            }
            let oldest = if self.datagrams > 0 { self.events.iter().position(is_datagram) } else { None };
            self.datagrams -= usize::from(oldest.is_some());
            self.events.remove(oldest.unwrap_or(0));
        }
        self.datagrams += usize::from(is_datagram(&event));
        self.events.push_back(event);
    }
}

fn is_datagram(event: &Event) -> bool {
    matches!(event, Event::Datagram { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::LegId;

    fn datagram(leg: u32) -> Event {
        Event::Datagram { leg: LegId(leg), bytes: vec![], from: "127.0.0.1:1".parse().unwrap() }
    }

    fn bye(leg: u32) -> Event {
        Event::Bye { leg: LegId(leg), ssrc: 0 }
    }

    #[test]
    fn a_full_queue_drops_datagrams_first_then_the_oldest() {
        let events = Events::new().unwrap();
        events.push_all(&mut (0..CAPACITY as u32 - 1).map(bye).collect());
        events.push_all(&mut vec![datagram(1), datagram(2), bye(90), bye(91)]);
        assert_eq!(events.dropped(), 3);
        let taken = events.take(CAPACITY + 1);
        assert_eq!(taken.len(), CAPACITY);
        assert!(!taken.iter().any(is_datagram));
        assert!(matches!(taken[0], Event::Bye { leg: LegId(1), .. }));
        assert!(events.take(1).is_empty());
    }
}
