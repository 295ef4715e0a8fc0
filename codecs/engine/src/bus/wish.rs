//! A wish for a key frame on its way to the source: coalesced, repeated with back-off, until the key frame comes.
//!
//! Devices lose feedback, ignore PLI and know only FIR, or the other way round; so one request is never enough, and
//! many viewers joining at once must not become many requests (RFC 5104 3.5.1.2 asks for restraint).

use crate::unit::Ns;

/// Whatever viewers do, a source is not asked more often.
pub const MIN_INTERVAL: Ns = 500_000_000;
/// Where the back-off ends.
pub const MAX_INTERVAL: Ns = 2_000_000_000;
/// Nobody watches the track any more: this often it is still asked for, then forgotten.
pub const ATTEMPTS_UNWATCHED: u32 = 3;

#[derive(Default, Debug)]
pub struct Wish {
    open: Option<Open>,
    last_asked: Option<Ns>,
}

#[derive(Debug)]
struct Open {
    since: Ns,
    attempt: u32,
    next: Ns,
}

impl Wish {
    /// Somebody needs a key frame. The attempt to make at once, if it is time for one.
    pub fn want(&mut self, now: Ns, watched: bool) -> Option<u32> {
        if self.open.is_none() {
            let next = self.last_asked.map_or(now, |last| (last + MIN_INTERVAL).max(now));
            self.open = Some(Open { since: now, attempt: 0, next });
        }
        self.poll(now, watched)
    }

    /// The attempt that is due now. `watched`: the track has subscribers.
    pub fn poll(&mut self, now: Ns, watched: bool) -> Option<u32> {
        let open = self.open.as_mut().filter(|open| open.next <= now)?;
        if !watched && open.attempt >= ATTEMPTS_UNWATCHED {
            self.open = None;
            return None;
        }
        open.attempt += 1;
        // 500 ms, 1 s, then every 2 s.
        open.next = now + (MIN_INTERVAL << (open.attempt - 1).min(2)).min(MAX_INTERVAL);
        self.last_asked = Some(now);
        Some(open.attempt)
    }

    /// A key frame came. How many milliseconds it was waited for, if it was.
    pub fn came(&mut self, now: Ns) -> Option<u32> {
        let open = self.open.take()?;
        Some(u32::try_from(now.saturating_sub(open.since) / 1_000_000).unwrap_or(u32::MAX))
    }

    pub fn next(&self) -> Option<Ns> {
        self.open.as_ref().map(|open| open.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MS: Ns = 1_000_000;

    #[test]
    fn repeats_with_back_off_until_it_comes() {
        let mut wish = Wish::default();
        let mut asked = vec![];
        if wish.want(0, true).is_some() {
            asked.push(0);
        }
        for ms in 1..8000 {
            // Other viewers' wishes change nothing.
            let attempt = if ms % 7 == 0 { wish.want(ms * MS, true) } else { wish.poll(ms * MS, true) };
            if attempt.is_some() {
                asked.push(ms);
            }
        }
        assert_eq!(asked, [0, 500, 1500, 3500, 5500, 7500]);
        assert_eq!(wish.came(8000 * MS), Some(8000));
        assert_eq!(wish.came(8001 * MS), None);
        assert_eq!(wish.next(), None);
    }

    #[test]
    fn a_wish_right_after_a_key_frame_waits_for_its_interval() {
        let mut wish = Wish::default();
        assert_eq!(wish.want(0, true), Some(1));
        wish.came(100 * MS);
        assert_eq!(wish.want(200 * MS, true), None);
        assert_eq!(wish.next(), Some(500 * MS));
        assert_eq!(wish.poll(500 * MS, true), Some(1));
    }

    #[test]
    fn is_forgotten_when_nobody_watches() {
        let mut wish = Wish::default();
        let attempts: u32 = (0..60_000)
            .filter_map(|ms| if ms == 0 { wish.want(0, false) } else { wish.poll(ms * MS, false) })
            .max()
            .unwrap();
        assert_eq!((attempts, wish.next()), (ATTEMPTS_UNWATCHED, None));
    }
}
