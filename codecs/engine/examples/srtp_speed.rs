//! What SRTP costs a packet: protect and unprotect 1,200 bytes of payload with every profile.
//!
//! `cargo run --release --no-default-features --example srtp_speed`. Prints the median of rounds that take the profiles
//! in turn, so that a busy machine slows all of them alike. What was protected is unprotected and counted.

use _engine::rtp::Header;
use _engine::srtp::{Profile, Protector, Unprotector};
use std::time::Instant;

const PACKETS: u32 = 20_000;
const ROUNDS: usize = 9;
const PAYLOAD_BYTES: usize = 1200;
const PROFILES: [Profile; 4] =
    [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32];

fn main() {
    let mut protect = vec![Vec::new(); PROFILES.len()];
    let mut unprotect = vec![Vec::new(); PROFILES.len()];
    for _ in 0..ROUNDS {
        for (at, profile) in PROFILES.into_iter().enumerate() {
            let (out, back) = round(profile);
            protect[at].push(out);
            unprotect[at].push(back);
        }
    }
    for (at, profile) in PROFILES.into_iter().enumerate() {
        let (out, back) = (median(&mut protect[at]), median(&mut unprotect[at]));
        println!("{:24} protect {out:5.0} ns, unprotect {back:5.0} ns a packet", profile.name());
    }
}

/// Nanoseconds a packet, protecting and unprotecting.
fn round(profile: Profile) -> (f64, f64) {
    let master = vec![7; profile.key_len() + profile.salt_len()];
    let mut protector = Protector::new(profile, &master).expect("keys of the right length");
    let mut unprotector = Unprotector::new(profile, &master).expect("keys of the right length");
    let mut packets: Vec<Vec<u8>> = (0..PACKETS)
        .map(|seq| {
            let mut packet = Vec::with_capacity(1500);
            Header { marker: false, pt: 96, seq: seq as u16, timestamp: 0, ssrc: 1 }.write(&mut packet, &[]);
            packet.resize(packet.len() + PAYLOAD_BYTES, 0x55);
            packet
        })
        .collect();
    let begin = Instant::now();
    for packet in &mut packets {
        protector.protect_rtp(packet, 0).expect("a packet of ours");
    }
    let protected = begin.elapsed();
    let begin = Instant::now();
    for packet in &mut packets {
        unprotector.unprotect_rtp(packet).expect("what was protected");
    }
    let unprotected = begin.elapsed();
    (protected.as_nanos() as f64 / f64::from(PACKETS), unprotected.as_nanos() as f64 / f64::from(PACKETS))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
