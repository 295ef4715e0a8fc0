//! Sending: sendmmsg over GSO runs. Neighbours with one destination and length leave as one buffer that the kernel cuts
//! (UDP_SEGMENT, Linux 4.18), which costs a third less than a datagram each.

use super::socket::to_sockaddr;
use crate::output::{Datagram, Path};
use crate::unit::LegId;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;

/// Messages a call.
const BATCH: usize = 64;
/// The kernel's limit (UDP_MAX_SEGMENTS) and an IP datagram's.
const MAX_SEGMENTS: usize = 64;
const MAX_RUN_BYTES: usize = 65_000;

/// Room for one control message with a u16, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 24]);

pub struct Outbound {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    /// How many datagrams each message holds.
    segments: Vec<usize>,
    gso: bool,
}

#[derive(Default, Clone, Copy, Debug)]
pub struct Sent {
    pub packets: u64,
    pub bytes: u64,
    /// The socket's send buffer was full: dropped, because the media thread never waits.
    pub dropped: u64,
    pub calls: u64,
}

/// What to do about a failed message.
enum Remedy {
    Skip,
    /// Each datagram alone.
    Split,
    /// The send buffer is full: the rest of the batch goes.
    Abandon,
}

impl Outbound {
    pub fn new(gso: bool) -> Outbound {
        // SAFETY: all-zero is valid for these C structs.
        unsafe {
            Outbound {
                headers: vec![zeroed(); BATCH],
                vectors: vec![zeroed(); BATCH],
                addresses: vec![zeroed(); BATCH],
                controls: vec![Control([0; 24]); BATCH],
                segments: vec![0; BATCH],
                gso,
            }
        }
    }

    /// Sends all of it. `socket` finds the descriptor (None: the leg is gone); `failed` hears what the network said.
    pub fn send(
        &mut self,
        datagrams: &[Datagram],
        bytes: &[u8],
        socket: impl Fn(LegId, Path) -> Option<RawFd>,
        mut failed: impl FnMut(LegId, io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        for run in datagrams.chunk_by(|a, b| a.leg == b.leg && a.path == b.path) {
            if let Some(fd) = socket(run[0].leg, run[0].path) {
                self.send_run(fd, run, bytes, self.gso, &mut sent, &mut failed);
            }
        }
        sent
    }

    /// All from one socket.
    fn send_run(
        &mut self,
        fd: RawFd,
        mut run: &[Datagram],
        bytes: &[u8],
        gso: bool,
        sent: &mut Sent,
        failed: &mut impl FnMut(LegId, io::Error),
    ) {
        while !run.is_empty() {
            let (messages, taken) = self.prepare(run, bytes, gso);
            let mut at = 0;
            let mut first = 0;
            while at < messages {
                // SAFETY: headers `at..messages` point into our vectors and into `bytes`, all alive and unmoved.
                let done = unsafe {
                    libc::sendmmsg(
                        fd,
                        self.headers[at..].as_mut_ptr(),
                        (messages - at) as u32,
                        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                    )
                };
                sent.calls += 1;
                if done > 0 {
                    for segments in &self.segments[at..at + done as usize] {
                        sent.packets += *segments as u64;
                        sent.bytes +=
                            run[first..first + segments].iter().map(|datagram| datagram.len as u64).sum::<u64>();
                        first += segments;
                    }
                    at += done as usize;
                    continue;
                }
                let error = io::Error::last_os_error();
                let segments = self.segments[at];
                match remedy(&error, segments) {
                    Remedy::Split => {
                        // This path can't cut (no checksum offload, or the run's segments exceed its MTU).
                        let rest = &run[first..];
                        if error.raw_os_error() == Some(libc::EIO) {
                            self.gso = false;
                        }
                        self.send_run(fd, rest, bytes, false, sent, failed);
                        return;
                    }
                    Remedy::Abandon => {
                        sent.dropped += (run.len() - first) as u64;
                        return;
                    }
                    Remedy::Skip => {
                        failed(run[first].leg, error);
                        first += segments;
                        at += 1;
                    }
                }
            }
            run = &run[taken..];
        }
    }

    /// Fills headers. How many, and how many datagrams they hold.
    fn prepare(&mut self, run: &[Datagram], bytes: &[u8], gso: bool) -> (usize, usize) {
        let (mut messages, mut taken) = (0, 0);
        while messages < BATCH && taken < run.len() {
            let segments = if gso { equal_neighbours(&run[taken..]) } else { 1 };
            let group = &run[taken..taken + segments];
            let (start, len) = (group[0].start, group.iter().map(|datagram| datagram.len).sum::<usize>());
            let (address, address_len) = to_sockaddr(group[0].to);
            self.addresses[messages] = address;
            self.vectors[messages] =
                libc::iovec { iov_base: bytes[start..start + len].as_ptr().cast_mut().cast(), iov_len: len };
            self.segments[messages] = segments;
            let header = &mut self.headers[messages].msg_hdr;
            header.msg_name = (&raw mut self.addresses[messages]).cast();
            header.msg_namelen = address_len;
            header.msg_iov = &raw mut self.vectors[messages];
            header.msg_iovlen = 1;
            if segments > 1 {
                self.controls[messages] = segment_size(group[0].len as u16);
                header.msg_control = (&raw mut self.controls[messages]).cast();
                header.msg_controllen = size_of::<Control>();
            } else {
                header.msg_control = std::ptr::null_mut();
                header.msg_controllen = 0;
            }
            messages += 1;
            taken += segments;
        }
        (messages, taken)
    }
}

/// How many from the beginning fit one GSO call: one destination, one length (the last may be shorter), no gap in memory.
fn equal_neighbours(run: &[Datagram]) -> usize {
    let first = run[0];
    let (mut count, mut end) = (1, first.start + first.len);
    for next in &run[1..] {
        if next.to != first.to || next.start != end || next.len > first.len || next.len == 0 || count == MAX_SEGMENTS {
            break;
        }
        end += next.len;
        if end - first.start > MAX_RUN_BYTES {
            break;
        }
        count += 1;
        if next.len < first.len {
            break;
        }
    }
    count
}

fn segment_size(bytes: u16) -> Control {
    let mut control = Control([0; 24]);
    // struct cmsghdr: length, level, type, then the value.
    let len: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();
    control.0[..8].copy_from_slice(&len.to_ne_bytes());
    control.0[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control.0[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control.0[16..18].copy_from_slice(&bytes.to_ne_bytes());
    control
}

fn remedy(error: &io::Error, segments: usize) -> Remedy {
    match error.raw_os_error() {
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT) if segments > 1 => Remedy::Split,
        Some(libc::EAGAIN | libc::ENOBUFS) => Remedy::Abandon,
        _ => Remedy::Skip,
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::{Inbound, Socket};
    use super::*;
    use std::net::SocketAddr;

    fn lengths(lens: &[usize], to: SocketAddr) -> (Vec<Datagram>, Vec<u8>) {
        let (mut datagrams, mut bytes) = (vec![], vec![]);
        for (k, &len) in lens.iter().enumerate() {
            datagrams.push(Datagram { leg: LegId(1), path: Path::Rtp, to, start: bytes.len(), len });
            bytes.extend(std::iter::repeat_n(k as u8, len));
        }
        (datagrams, bytes)
    }

    #[test]
    fn runs_end_at_a_shorter_a_longer_another_destination_and_the_limits() {
        let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let count = |lens: &[usize]| equal_neighbours(&lengths(lens, to).0);
        assert_eq!((count(&[100, 100, 50, 50]), count(&[100, 101]), count(&[100])), (3, 1, 1));
        assert_eq!((count(&[100; 100]), count(&[1200; 64])), (MAX_SEGMENTS, 54));
        let mut two = lengths(&[100, 100], to).0;
        two[1].to = "127.0.0.1:10".parse().unwrap();
        assert_eq!(equal_neighbours(&two), 1);
    }

    #[test]
    fn what_is_sent_arrives_whole_with_and_without_gso() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            for gso in [true, false] {
                let bound = || Socket::bind(local.parse().unwrap(), 1 << 20, 46).unwrap();
                let (a, b) = (bound(), bound());
                let lens: Vec<usize> =
                    (0..150).map(|k| if k % 11 == 10 { 700 } else { 1212 }).chain([40_000]).collect();
                let (datagrams, bytes) = lengths(&lens, b.local);
                let sent =
                    Outbound::new(gso).send(&datagrams, &bytes, |_, _| Some(a.raw()), |_, error| panic!("{error}"));
                assert_eq!((sent.packets, sent.dropped, sent.bytes), (151, 0, bytes.len() as u64));
                assert_eq!(sent.calls > 2, !gso);
                let mut inbound = Inbound::new(32);
                let mut got = vec![];
                while let Ok(_more) = inbound.receive(b.raw()) {
                    for at in 0..inbound.len() {
                        let (from, bytes) = inbound.get(at);
                        assert_eq!(from, a.local);
                        got.push((bytes.len(), bytes[0]));
                    }
                }
                let expected: Vec<(usize, u8)> = lens.iter().enumerate().map(|(k, &len)| (len, k as u8)).collect();
                assert_eq!(got, expected);
            }
        }
    }
}
