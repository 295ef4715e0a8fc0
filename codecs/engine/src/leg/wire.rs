//! From a written packet to a datagram in `Output`: address, keys, counters.

use super::address::Latch;
use super::LegError;
use crate::output::{Datagram, Output, Path};
use crate::srtp::{Profile, Protector, SrtpError, Unprotector};
use crate::unit::{LegId, Ns};
use std::fmt;
use std::net::SocketAddr;

/// A leg's way out, and its keys both ways.
#[derive(Debug)]
pub struct Wire {
    leg: LegId,
    /// Nothing passes without keys.
    secure: bool,
    pub mux: bool,
    pub rtp: Latch,
    pub rtcp: Latch,
    keys: Option<Keys>,
    pub packets_out: u64,
    pub bytes_out: u64,
}

struct Keys {
    profile: Profile,
    /// To know the same keys when they are set again.
    masters: [Box<[u8]>; 2],
    outbound: Protector,
    inbound: Unprotector,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Wire {
    pub fn new(leg: LegId, secure: bool, mux: bool, learn: bool, silence: Ns) -> Wire {
        let latch = || Latch::new(learn, silence);
        Wire { leg, secure, mux, rtp: latch(), rtcp: latch(), keys: None, packets_out: 0, bytes_out: 0 }
    }

    /// Media can go out.
    pub fn ready(&self) -> bool {
        self.rtp.target().is_some() && self.may_pass()
    }

    /// Keys are set where they are needed.
    pub fn may_pass(&self) -> bool {
        !self.secure || self.keys.is_some()
    }

    pub fn secured(&self) -> bool {
        self.keys.is_some()
    }

    pub fn profile(&self) -> Option<Profile> {
        self.keys.as_ref().map(|keys| keys.profile)
    }

    /// A direction whose key is the one it has goes on with its rollover counters.
    pub fn set_keys(&mut self, profile: Profile, outbound: &[u8], inbound: &[u8]) -> Result<(), LegError> {
        match self.keys.as_mut().filter(|keys| keys.profile == profile) {
            Some(keys) => {
                let new_outbound = *keys.masters[0] != *outbound;
                let new_outbound = new_outbound.then(|| Protector::new(profile, outbound)).transpose()?;
                let new_inbound = *keys.masters[1] != *inbound;
                let new_inbound = new_inbound.then(|| Unprotector::new(profile, inbound)).transpose()?;
                if let Some(protector) = new_outbound {
                    (keys.outbound, keys.masters[0]) = (protector, outbound.into());
                }
                if let Some(unprotector) = new_inbound {
                    (keys.inbound, keys.masters[1]) = (unprotector, inbound.into());
                }
            }
            None => {
                let (masters, outbound) = ([outbound.into(), inbound.into()], Protector::new(profile, outbound)?);
                self.keys = Some(Keys { profile, masters, outbound, inbound: Unprotector::new(profile, inbound)? });
            }
        }
        Ok(())
    }

    pub fn clear_keys(&mut self) {
        self.secure = false;
        self.keys = None;
    }

    /// Decrypts in place; the packet's length. Without keys on a plain leg nothing is done.
    pub fn unprotect(&mut self, rtcp: bool, bytes: &mut [u8]) -> Result<usize, SrtpError> {
        match &mut self.keys {
            None => Ok(bytes.len()),
            Some(keys) if rtcp => keys.inbound.unprotect_rtcp(bytes),
            Some(keys) => keys.inbound.unprotect_rtp(bytes),
        }
    }

    /// Sends the RTP packet that `write` appends. False when it can't go out.
    pub fn send_rtp(&mut self, out: &mut Output, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(to) = self.rtp.target().filter(|_| self.may_pass()) else { return false };
        let start = out.bytes.len();
        write(&mut out.bytes);
        let sealed = self.keys.as_mut().map_or(Ok(()), |keys| keys.outbound.protect_rtp(&mut out.bytes, start));
        self.finish(out, start, sealed, Path::Rtp, to)
    }

    /// The same for an RTCP compound.
    pub fn send_rtcp(&mut self, out: &mut Output, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let (path, latch) = if self.mux { (Path::Rtp, &self.rtp) } else { (Path::Rtcp, &self.rtcp) };
        let Some(to) = latch.target().filter(|_| self.may_pass()) else { return false };
        let start = out.bytes.len();
        write(&mut out.bytes);
        let sealed = self.keys.as_mut().map_or(Ok(()), |keys| keys.outbound.protect_rtcp(&mut out.bytes, start));
        self.finish(out, start, sealed, path, to)
    }

    fn finish(
        &mut self,
        out: &mut Output,
        start: usize,
        sealed: Result<(), SrtpError>,
        path: Path,
        to: SocketAddr,
    ) -> bool {
        if sealed.is_err() {
            // an exhausted key or no memory: what can't be encrypted isn't sent
            out.bytes.truncate(start);
            return false;
        }
        let len = out.bytes.len() - start;
        out.datagrams.push(Datagram { leg: self.leg, path, to, start, len });
        self.packets_out += 1;
        self.bytes_out += len as u64;
        true
    }
}
