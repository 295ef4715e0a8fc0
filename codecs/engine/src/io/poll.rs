//! The kernel's ways of waiting: epoll, and eventfd to wake another thread.

use crate::unit::Ns;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Of CLOCK_MONOTONIC.
pub fn now() -> Ns {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Added to `now` it gives nanoseconds since 1970 UTC.
pub fn unix_offset() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    unix.saturating_sub(now())
}

#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
    precise: AtomicBool,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        // SAFETY: plain system call; the descriptor is owned at once.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made and owned by nobody else.
        Ok(Poller { fd: unsafe { OwnedFd::from_raw_fd(fd) }, precise: AtomicBool::new(true) })
    }

    /// Level-triggered; `token` comes back from `wait`.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token)
    }

    /// Another token for a descriptor that was added.
    pub fn rename(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token)
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` lives through the call.
        if unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until something is readable or `timeout` nanoseconds passed; None: for ever.
    pub fn wait(&self, events: &mut [libc::epoll_event], timeout: Option<Ns>) -> io::Result<usize> {
        let got = if self.precise.load(Ordering::Relaxed) {
            let time = timeout
                .map(|ns| libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
            let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: `events` and `time` live through the call; no signal mask is given.
            unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.fd.as_raw_fd(),
                    events.as_mut_ptr(),
                    events.len() as i32,
                    time,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                ) as i32
            }
        } else {
            // Linux before 5.11: whole milliseconds, rounded up.
            let ms = timeout.map_or(-1, |ns| ns.div_ceil(1_000_000).min(i32::MAX as u64) as i32);
            // SAFETY: `events` lives through the call.
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, ms) }
        };
        if got >= 0 {
            return Ok(got as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(0),
            // ENOSYS from an old kernel, EPERM from a container's filter.
            Some(libc::ENOSYS | libc::EPERM) if self.precise.swap(false, Ordering::Relaxed) => Ok(0),
            _ => Err(error),
        }
    }
}

/// A flag that becomes readable a moment after it was raised, so that what is raised meanwhile wakes the waiter once.
#[derive(Debug)]
pub struct Later {
    fd: OwnedFd,
    raised: AtomicBool,
    after: libc::itimerspec,
}

impl Later {
    pub fn new(after: Ns) -> io::Result<Later> {
        // SAFETY: plain system call; the descriptor is owned at once.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let at = libc::timespec { tv_sec: (after / 1_000_000_000) as i64, tv_nsec: (after % 1_000_000_000) as i64 };
        let after = libc::itimerspec { it_interval: never, it_value: at };
        // SAFETY: just made and owned by nobody else.
        Ok(Later { fd: unsafe { OwnedFd::from_raw_fd(fd) }, raised: AtomicBool::new(false), after })
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Costs a system call only when it wasn't raised.
    pub fn raise(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            // SAFETY: `after` is valid; nothing is asked back. It can't fail for a timer of ours.
            unsafe { libc::timerfd_settime(self.raw(), 0, &raw const self.after, std::ptr::null_mut()) };
        }
    }

    /// As `Signal::lower`.
    pub fn lower(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes into a live integer; not blocking.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), 8) };
        self.raised.store(false, Ordering::SeqCst);
    }
}

/// A flag that another thread, or an event loop, waits for.
#[derive(Debug)]
pub struct Signal {
    fd: OwnedFd,
    raised: AtomicBool,
}

impl Signal {
    pub fn new() -> io::Result<Signal> {
        // SAFETY: plain system call; the descriptor is owned at once.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made and owned by nobody else.
        Ok(Signal { fd: unsafe { OwnedFd::from_raw_fd(fd) }, raised: AtomicBool::new(false) })
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Costs a system call only when it wasn't raised.
    pub fn raise(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            let one = 1u64;
            // SAFETY: eight bytes from a live integer. It fails only at 2^64 - 1, when it is readable anyway.
            unsafe { libc::write(self.raw(), (&raw const one).cast(), 8) };
        }
    }

    /// Look for what was signalled after this, not before: what comes in between raises it again.
    pub fn lower(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes into a live integer; not blocking.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), 8) };
        self.raised.store(false, Ordering::SeqCst);
    }
}
