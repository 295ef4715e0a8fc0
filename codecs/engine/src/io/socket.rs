//! UDP sockets: made, read and written in batches.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A UDP datagram carries at most this (RFC 768; a room system sends whole NAL units in packetization-mode 0).
pub const MAX_DATAGRAM: usize = 65_535;

#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    pub local: SocketAddr,
}

impl Socket {
    /// Bound, not connected and not blocking. `dscp` as in RFC 2474, 0..=63.
    pub fn bind(local: SocketAddr, buffer_bytes: u32, dscp: u8) -> io::Result<Socket> {
        let (family, level, class) = match local {
            SocketAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        // SAFETY: plain system call; the descriptor is owned at once.
        let fd = unsafe {
            let fd = libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        if local.is_ipv6() {
            set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            // FORCE goes above the host's limit and needs CAP_NET_ADMIN; without it the kernel clamps silently.
            let wanted = buffer_bytes.min(i32::MAX as u32) as i32;
            if set_option(fd.as_raw_fd(), libc::SOL_SOCKET, force, wanted).is_err() {
                set_option(fd.as_raw_fd(), libc::SOL_SOCKET, plain, wanted)?;
            }
        }
        if dscp > 0 {
            set_option(fd.as_raw_fd(), level, class, i32::from(dscp) << 2)?;
        }
        let (address, len) = to_sockaddr(local);
        // SAFETY: `address` is a valid sockaddr of `len` bytes.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Socket { local: local_address(fd.as_raw_fd())?, fd })
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Where it is bound; the kernel chose the port when it was 0.
fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` has room for `len` bytes.
    if unsafe { libc::getsockname(fd, (&raw mut storage).cast(), &raw mut len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(from_sockaddr(&storage))
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` lives through the call.
    let done = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as u32) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub fn to_sockaddr(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero is a valid sockaddr_storage, and it is large and aligned enough for both families.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let len = match address {
            SocketAddr::V4(v4) => {
                let sin = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                sin.sin_family = libc::AF_INET as u16;
                sin.sin_port = v4.port().to_be();
                sin.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let sin6 = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                sin6.sin6_family = libc::AF_INET6 as u16;
                sin6.sin6_port = v6.port().to_be();
                sin6.sin6_addr.s6_addr = v6.ip().octets();
                sin6.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, len as libc::socklen_t)
    }
}

fn from_sockaddr(storage: &libc::sockaddr_storage) -> SocketAddr {
    // SAFETY: the family says which of the two the kernel wrote.
    unsafe {
        if i32::from(storage.ss_family) == libc::AF_INET6 {
            let sin6 = &*(&raw const *storage).cast::<libc::sockaddr_in6>();
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(sin6.sin6_addr.s6_addr)), u16::from_be(sin6.sin6_port))
        } else {
            let sin = &*(&raw const *storage).cast::<libc::sockaddr_in>();
            SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(sin.sin_addr.s_addr))), u16::from_be(sin.sin_port))
        }
    }
}

/// Datagrams of one socket that one call brought.
pub struct Inbound {
    bytes: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    _vectors: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_storage>,
    filled: usize,
}

/// At 64 KiB apart, the buffers' beginnings, all that is mostly used, would fall into the same few cache sets.
const STRIDE: usize = MAX_DATAGRAM + 1 + 1600;

impl Inbound {
    pub fn new(capacity: usize) -> Inbound {
        // SAFETY: all-zero is valid for these C structs.
        let (mut addresses, zero): (Vec<libc::sockaddr_storage>, libc::mmsghdr) =
            unsafe { (vec![zeroed(); capacity], zeroed()) };
        let mut bytes = vec![0u8; capacity * STRIDE];
        let mut vectors: Vec<libc::iovec> = bytes
            .chunks_exact_mut(STRIDE)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: MAX_DATAGRAM })
            .collect();
        let headers = vectors
            .iter_mut()
            .zip(&mut addresses)
            .map(|(vector, address)| {
                let mut header = zero;
                header.msg_hdr.msg_name = (&raw mut *address).cast();
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Inbound { bytes, headers, _vectors: vectors, addresses, filled: 0 }
    }

    /// Reads what is there. True when there may be more.
    pub fn receive(&mut self, socket: RawFd) -> io::Result<bool> {
        // The kernel shortened those that it filled last time.
        for header in &mut self.headers[..std::mem::take(&mut self.filled)] {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
        }
        let capacity = self.headers.len() as u32;
        // SAFETY: every header points into `bytes`, `_vectors` and `addresses`, which are never resized.
        let got = unsafe {
            libc::recvmmsg(socket, self.headers.as_mut_ptr(), capacity, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        self.filled = got as usize;
        Ok(self.filled == self.headers.len())
    }

    pub fn len(&self) -> usize {
        self.filled
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub fn get(&mut self, at: usize) -> (SocketAddr, &mut [u8]) {
        assert!(at < self.filled);
        let len = (self.headers[at].msg_len as usize).min(MAX_DATAGRAM);
        (from_sockaddr(&self.addresses[at]), &mut self.bytes[at * STRIDE..at * STRIDE + len])
    }
}
