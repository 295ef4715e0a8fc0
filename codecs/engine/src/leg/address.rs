//! Where the peer is: what signalling says, corrected by what arrives (symmetric RTP, RFC 4961), then locked.

use crate::unit::Ns;
use std::net::SocketAddr;

/// Somebody who came before the signalled address gives way to it for so long: a stray packet of an earlier call, or of
/// a scanner, must not win against the device that comes a moment later.
const GRACE: Ns = 1_000_000_000;

/// One remote address, of RTP or of RTCP.
#[derive(Debug)]
pub struct Latch {
    learn: bool,
    silence: Ns,
    signalled: Option<SocketAddr>,
    target: Option<SocketAddr>,
    locked_at: Option<Ns>,
    /// The last valid packet from `target`.
    heard: Ns,
}

/// Whether a packet from an address may come in, before anybody has looked into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Peer,
    /// It becomes the peer if the packet is valid.
    Candidate,
    /// It becomes the peer if the packet proves that it comes from the one that fell silent.
    Successor,
    Foreign,
}

impl Latch {
    pub fn new(learn: bool, silence: Ns) -> Latch {
        Latch { learn, silence, signalled: None, target: None, locked_at: None, heard: 0 }
    }

    /// What signalling says. The same again leaves the target where it was learned (a device behind a NAT repeats its
    /// private address in every re-INVITE), but lets it be learned anew.
    pub fn signal(&mut self, address: SocketAddr) {
        if self.signalled != Some(address) {
            self.signalled = Some(address);
            self.target = Some(address);
        }
        self.locked_at = None;
    }

    /// Where it probably is, when nothing better is known: the RTP address was learned, and RTCP's only signalled.
    pub fn suggest(&mut self, address: SocketAddr) {
        if self.locked_at.is_none() {
            self.target = Some(address);
        }
    }

    /// Where to send.
    pub fn target(&self) -> Option<SocketAddr> {
        self.target
    }

    pub fn locked(&self) -> bool {
        self.locked_at.is_some()
    }

    pub fn judge(&self, from: SocketAddr, now: Ns) -> Verdict {
        let signalled = self.signalled == Some(from);
        match self.locked_at {
            _ if !self.learn && signalled => Verdict::Peer,
            _ if !self.learn => Verdict::Foreign,
            None => Verdict::Candidate,
            Some(_) if self.target == Some(from) => Verdict::Peer,
            Some(at) if signalled && now < at + GRACE => Verdict::Candidate,
            Some(_) if now >= self.heard + self.silence => Verdict::Successor,
            Some(_) => Verdict::Foreign,
        }
    }

    /// A packet that passed was valid. True when the peer is another, or locked for the first time.
    pub fn confirm(&mut self, from: SocketAddr, now: Ns) -> bool {
        self.heard = now;
        let news = self.target != Some(from) || self.locked_at.is_none();
        if news {
            self.target = Some(from);
            self.locked_at = Some(now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Ns = 1_000_000_000;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn signalled(to: &str) -> Latch {
        let mut latch = Latch::new(true, 5 * S);
        latch.signal(address(to));
        latch
    }

    #[test]
    fn the_first_valid_packet_decides_then_nobody_else_comes_in() {
        let mut latch = signalled("10.0.0.1:4000");
        assert_eq!(latch.target(), Some(address("10.0.0.1:4000")));
        let nat = address("203.0.113.7:61000");
        assert_eq!(latch.judge(nat, S), Verdict::Candidate);
        assert!(latch.confirm(nat, S) && latch.locked());
        assert_eq!(latch.target(), Some(nat));
        assert!(!latch.confirm(nat, 2 * S));
        assert_eq!(latch.judge(address("198.51.100.9:1"), 3 * S), Verdict::Foreign);
        // nor the signalled address, so late
        assert_eq!(latch.judge(address("10.0.0.1:4000"), 3 * S), Verdict::Foreign);
    }

    #[test]
    fn the_signalled_address_wins_over_who_came_a_moment_before() {
        let mut latch = signalled("192.0.2.1:4000");
        latch.confirm(address("198.51.100.9:1"), S);
        assert_eq!(latch.judge(address("192.0.2.1:4000"), S + S / 2), Verdict::Candidate);
        assert!(latch.confirm(address("192.0.2.1:4000"), S + S / 2));
        assert_eq!(latch.judge(address("198.51.100.9:1"), S + S / 2), Verdict::Foreign);
    }

    #[test]
    fn silence_or_signalling_opens_the_lock() {
        let mut latch = signalled("192.0.2.1:4000");
        latch.confirm(address("192.0.2.1:4000"), S);
        assert_eq!(latch.judge(address("192.0.2.1:4002"), 6 * S - 1), Verdict::Foreign);
        assert_eq!(latch.judge(address("192.0.2.1:4002"), 6 * S), Verdict::Successor);
        latch.signal(address("192.0.2.1:4002"));
        assert!(!latch.locked());
        assert_eq!(latch.judge(address("192.0.2.1:4002"), S), Verdict::Candidate);
    }

    #[test]
    fn a_repeated_private_address_keeps_the_learned_one() {
        let mut latch = signalled("10.0.0.1:4000");
        latch.confirm(address("203.0.113.7:61000"), S);
        latch.signal(address("10.0.0.1:4000"));
        assert_eq!(latch.target(), Some(address("203.0.113.7:61000")));
        assert!(latch.confirm(address("203.0.113.7:61044"), 2 * S));
    }

    #[test]
    fn without_learning_only_the_signalled_address_counts() {
        let mut latch = Latch::new(false, 5 * S);
        assert_eq!(latch.judge(address("192.0.2.1:4000"), 0), Verdict::Foreign);
        latch.signal(address("192.0.2.1:4000"));
        assert_eq!(latch.judge(address("192.0.2.1:4000"), 0), Verdict::Peer);
        assert_eq!(latch.judge(address("192.0.2.1:4001"), 99 * S), Verdict::Foreign);
    }
}
