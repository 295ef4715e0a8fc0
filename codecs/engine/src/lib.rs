//! The native engine of orbridge: RTP legs, the stream bus and the audio mixer.
//!
//! Layers, inside out. Nothing but `io` and `mixer_thread` touches a socket, a clock or a thread:
//!
//! | file | what it is responsible for |
//! |---|---|
//! | `unit` | the access unit and the ids |
//! | `rtp`, `rtcp`, `srtp` | bytes of RFC 3550, 4585, 5104, 4588, 8285, 3711, 7714, parse beside serialise |
//! | `nal/*`, `h264`, `h265` | inside NAL units: parameter sets, picture sizes, key frames |
//! | `payload/*` | RTP payload formats: packets to access units and back |
//! | `receiver`, `sender`, `leg` | one peer: order, loss, feedback, keys, addresses |
//! | `bus/*` | streams, tracks, caches, queues, key-frame wishes |
//! | `core/*` | legs and bus together: who gets what |
//! | `audio/*` | decoding, mixing, encoding; 48 kHz, 20 ms |
//! | `io/*` | the media thread: epoll, recvmmsg, sendmmsg, GSO |
//! | `mixer_thread` | the mixers' threads |
//! | `timers` | deadlines, cheap while they sleep |
//! | `python/*` | the only files that know PyO3 |
//!
//! Rule: an error is what the outside did; a panic is a broken invariant of ours. No input from outside may panic.

/// Units, histories and caches come and go at the rate of packets; glibc's allocator gives their pages back to the kernel
/// and takes them again, a tenth of what a relayed packet costs.
#[cfg(feature = "python")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod audio;
pub mod bus;
pub mod core;
pub mod h264;
pub mod h265;
pub mod io;
pub mod leg;
pub mod mixer_thread;
pub mod nal;
pub mod output;
pub mod payload;
pub mod receiver;
pub mod rtcp;
pub mod rtp;
pub mod sender;
pub mod srtp;
pub mod timers;
pub mod unit;

#[cfg(feature = "python")]
mod python;
