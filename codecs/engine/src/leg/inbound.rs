//! A datagram's way in: what it is, whether it may come from there, keys, and whose it is.

use super::address::Verdict;
use super::{ms, Leg};
use crate::output::{Event, Output, Path, Reject};
use crate::receiver::Claim;
use crate::rtp::{self, DatagramKind, Packet};
use crate::srtp::SrtpError;
use crate::unit::Ns;
use std::net::SocketAddr;

/// STUN and DTLS go up to Python: so many at once, and so many a second. ICE needs some tens.
pub const DATAGRAM_BURST: u64 = 200;
const DATAGRAMS_PER_SECOND: u64 = 200;
/// Neither is ever larger (a DTLS flight comes in datagrams below the MTU).
const MAX_DATAGRAM_BYTES: usize = 4096;

impl Leg {
    /// A datagram arrived on one of the leg's sockets. Its bytes are spoilt (decrypted in place).
    pub fn receive(&mut self, path: Path, from: SocketAddr, bytes: &mut [u8], now: Ns, out: &mut Output) {
        let rejected = match rtp::classify(bytes) {
            DatagramKind::Stun | DatagramKind::Dtls => self.pass_up(from, bytes, now, out),
            // what can't be read yet isn't malformed
            DatagramKind::Rtp | DatagramKind::Rtcp if !self.wire.may_pass() => Ok(()),
            DatagramKind::Rtp => self.receive_rtp(path, from, bytes, now, out),
            DatagramKind::Rtcp => self.receive_rtcp(path, from, bytes, now, out),
            DatagramKind::TurnChannel | DatagramKind::Unknown => Err(Reject::Rtp),
        };
        if let Err(why) = rejected {
            self.rejects.note(why, now, self.id, out);
        }
        self.settle(now, out);
    }

    fn pass_up(&mut self, from: SocketAddr, bytes: &[u8], now: Ns, out: &mut Output) -> Result<(), Reject> {
        let more = now.saturating_sub(self.datagrams_at).saturating_mul(DATAGRAMS_PER_SECOND) / 1_000_000_000;
        if more > 0 {
            self.datagrams = (self.datagrams + more).min(DATAGRAM_BURST);
            self.datagrams_at = now;
        }
        if self.datagrams == 0 || bytes.len() > MAX_DATAGRAM_BYTES {
            return Err(Reject::Foreign);
        }
        self.datagrams -= 1;
        out.events.push(Event::Datagram { leg: self.id, bytes: bytes.to_vec(), from });
        Ok(())
    }

    /// Whether who isn't the peer may be looked at. Who proves by a tag that he has the keys is heard where addresses
    /// aren't learned: ICE decides where media goes, and a peer changes its path before we hear of it.
    fn check_sender(&self, verdict: Verdict) -> Result<(), Reject> {
        match verdict {
            Verdict::Foreign if self.config.learn || !self.wire.secured() => Err(Reject::Foreign),
            _ => Ok(()),
        }
    }

    fn receive_rtp(
        &mut self,
        path: Path,
        from: SocketAddr,
        bytes: &mut [u8],
        now: Ns,
        out: &mut Output,
    ) -> Result<(), Reject> {
        if path == Path::Rtcp {
            return Err(Reject::Rtp);
        }
        let verdict = self.wire.rtp.judge(from, now);
        self.check_sender(verdict)?;
        let len = self.wire.unprotect(false, bytes).map_err(|error| srtp_reject(error, Reject::Rtp))?;
        let packet = Packet::parse(&bytes[..len]).map_err(|_| Reject::Rtp)?;
        let owner = self.owner(&packet, now);
        let known = match owner {
            Some((_, claim)) => claim == Claim::Ssrc,
            None => self.receivers.is_empty() && self.rtp_ssrc.is_none_or(|ssrc| ssrc == packet.ssrc),
        };
        // nobody becomes the peer with packets that nobody here wants
        let valid = owner.is_some() || self.receivers.is_empty();
        let proven = self.wire.secured() || known;
        match verdict {
            Verdict::Candidate if !valid => return Ok(()),
            Verdict::Successor if !(valid && proven) => return Err(Reject::Foreign),
            _ => {}
        }
        if valid {
            self.note_peer(verdict, from, now, out);
            self.rtp_ssrc = Some(packet.ssrc);
        }
        self.note_heard(len, now, out);
        if let Some((at, _)) = owner {
            self.receivers[at].take(&packet, now, out);
        }
        Ok(())
    }

    /// The receiver with the best claim to a packet; of equal ones the first.
    fn owner(&self, packet: &Packet<'_>, now: Ns) -> Option<(usize, Claim)> {
        let mut best: Option<(usize, Claim)> = None;
        for (at, receiver) in self.receivers.iter().enumerate() {
            let claim = receiver.claim(packet, now);
            if best.is_none_or(|best| claim > best.1) {
                best = Some((at, claim));
            }
        }
        best.filter(|best| best.1 >= Claim::Change)
    }

    fn note_peer(&mut self, verdict: Verdict, from: SocketAddr, now: Ns, out: &mut Output) {
        if verdict == Verdict::Foreign || !self.wire.rtp.confirm(from, now) {
            return;
        }
        out.events.push(Event::PeerLocked { leg: self.id, peer: from });
        if !self.wire.rtcp.locked() && self.wire.rtcp.target().is_none_or(|rtcp| rtcp.ip() != from.ip()) {
            self.wire.rtcp.suggest(super::next_port(from));
        }
    }

    /// Something valid came from the peer.
    fn note_heard(&mut self, len: usize, now: Ns, out: &mut Output) {
        self.packets_in += 1;
        self.bytes_in += len as u64;
        let before = self.heard.replace(now);
        self.listening.get_or_insert(now);
        if std::mem::take(&mut self.silent) {
            let since = before.max(self.listening).unwrap_or(now);
            out.events.push(Event::Heard { leg: self.id, ms: ms(now - since) });
        }
    }

    fn receive_rtcp(
        &mut self,
        path: Path,
        from: SocketAddr,
        bytes: &mut [u8],
        now: Ns,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let latch = if path == Path::Rtp { &self.wire.rtp } else { &self.wire.rtcp };
        let verdict = latch.judge(from, now);
        self.check_sender(verdict)?;
        let len = self.wire.unprotect(true, bytes).map_err(|error| srtp_reject(error, Reject::Rtcp))?;
        let bytes = &bytes[..len];
        let ssrc = super::reports::sender_of(bytes).ok_or(Reject::Rtcp)?;
        let known = self.wire.secured()
            || self.rtcp_ssrc == Some(ssrc)
            || self.receivers.iter().any(|receiver| receiver.has_ssrc(ssrc));
        let neighbour = self.wire.rtp.locked() && self.wire.rtp.target().is_some_and(|rtp| rtp.ip() == from.ip());
        match (path, verdict) {
            (_, Verdict::Successor) if !known => return Err(Reject::Foreign),
            // RTCP comes from where RTP does, or beside it
            (Path::Rtcp, Verdict::Candidate) if self.wire.rtp.locked() && !known && !neighbour => {
                return Err(Reject::Foreign);
            }
            (Path::Rtp, _) => self.note_peer(verdict, from, now, out),
            (Path::Rtcp, Verdict::Foreign) => {}
            (Path::Rtcp, _) => {
                self.wire.rtcp.confirm(from, now);
            }
        }
        self.rtcp_ssrc = Some(ssrc);
        self.note_heard(len, now, out);
        self.take_rtcp(bytes, now, out)
    }
}

fn srtp_reject(error: SrtpError, malformed: Reject) -> Reject {
    match error {
        SrtpError::Auth => Reject::SrtpAuth,
        SrtpError::Replay => Reject::SrtpReplay,
        _ => malformed,
    }
}
