//! What a peer learns from sender reports about tracks that are written with their capture times: sound and picture keep
//! together although they come differently late and from a clock that runs fast. Ten minutes on a fake clock.

use _engine::core::{Core, MediaKind, NewTrack};
use _engine::leg::{LegConfig, SenderCodec, SenderConfig};
use _engine::payload::Packing;
use _engine::rtcp::{self, Packet as Rtcp};
use _engine::rtp::Packet;
use _engine::unit::{Codec, LegId, Ns, SenderId, TrackId, Unit};
use std::collections::VecDeque;

const MS: Ns = 1_000_000;
const START: Ns = 1_000_000 * MS;
const MINUTES: u64 = 10;
/// The encoder's clock runs so much fast.
const SKEW: f64 = 200e-6;
/// Sound that is transcoded on its way comes so much later than the picture.
const PICTURE_DELAY: Ns = 150 * MS;
const SOUND_DELAY: Ns = 210 * MS;
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// One track on its way from an encoder to a peer, and what the peer makes of it.
struct Line {
    track: TrackId,
    codec: Codec,
    clock_hz: u32,
    ssrc: u32,
    every_ms: u64,
    delay: Ns,
    next: u64,
    /// When each unit that was written and not seen yet was captured.
    written: VecDeque<Ns>,
    /// The newest sender report: our clock and the timestamp.
    report: Option<(i128, u32)>,
    /// How far beside the capture the peer would put it, in nanoseconds: the last, and the worst.
    error: Option<i128>,
    worst: i128,
    seen: u64,
}

impl Line {
    fn captured(&self, n: u64) -> Ns {
        START + ((n * self.every_ms * MS) as f64 / (1.0 + SKEW)) as Ns
    }

    fn due(&self) -> Ns {
        self.captured(self.next) + self.delay
    }

    /// The next unit, its capture time known to within 4 ms as after a network.
    fn write(&mut self, core: &mut Core) {
        let n = self.next;
        self.next += 1;
        let captured = self.captured(n);
        self.written.push_back(captured);
        let video = self.codec.is_video();
        let keyframe = !video || n % 50 == 0;
        let payload: Vec<u8> = match (video, keyframe) {
            (true, true) => vec![0, 0, 0, 4, 0x65, 0x88, 0x80, 1],
            (true, false) => vec![0, 0, 0, 4, 0x41, 0x9a, 0x80, 1],
            _ => vec![0x78, 1, 2, 3],
        };
        // the encoder's own time, in ticks
        let pts = (n * self.every_ms * u64::from(self.clock_hz) / 1000) as i64;
        let unit = Unit {
            track: self.track,
            codec: self.codec,
            pts,
            dts: pts,
            keyframe,
            contiguous: true,
            capture: captured + n * 7 % 5 * MS,
            arrival: captured + self.delay,
            payload: payload.into(),
            nals: if video { vec![(4, 4)].into() } else { Box::default() },
            level: None,
        };
        core.publish(unit, captured + self.delay);
    }

    /// RFC 3550 6.4.1: where the peer puts a timestamp on our clock.
    fn take(&mut self, timestamp: u32) {
        let captured = self.written.pop_front().expect("no packet without a unit");
        self.seen += 1;
        let Some((at, reported)) = self.report else { return };
        let moved = i128::from(timestamp.wrapping_sub(reported) as i32);
        let shown = at + moved * 1_000_000_000 / i128::from(self.clock_hz);
        let error = shown - i128::from(captured);
        self.worst = self.worst.max(error.abs());
        self.error = Some(error);
    }
}

fn our_clock(ntp: u64) -> i128 {
    let seconds = i128::from(ntp >> 32) - i128::from(NTP_TO_UNIX_S);
    seconds * 1_000_000_000 + ((i128::from(ntp & 0xFFFF_FFFF) * 1_000_000_000) >> 32)
}

fn line(core: &mut Core, stream: u32, leg: LegId, codec: Codec, clock_hz: u32, every_ms: u64, delay: Ns) -> Line {
    let kind = if codec.is_video() { MediaKind::Video } else { MediaKind::Audio };
    let track = core.add_track(stream, NewTrack { kind, codec, clock_hz, channels: 1 }).unwrap();
    let packing = Packing { mode: 1, max_payload_bytes: 1200, max_nal_bytes: 0 };
    let pt = if codec.is_video() { 100 } else { 111 };
    let ssrc = 0xCAFE + u32::from(pt);
    let config = SenderConfig {
        id: SenderId(0),
        codec: SenderCodec { codec, pt, clock_hz, packing, rtx_pt: None, dtmf_pt: None },
        ssrc,
        rtx_ssrc: None,
        cname: "tower".into(),
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        max_bps: 0,
        history_ms: 1000,
    };
    let sender = core.add_sender(leg, config, START).unwrap();
    core.select(sender, Some(track), START).unwrap();
    let (written, report, error) = (VecDeque::new(), None, None);
    Line { track, codec, clock_hz, ssrc, every_ms, delay, next: 0, written, report, error, worst: 0, seen: 0 }
}

/// The peer reads what left.
fn read(core: &mut Core, lines: &mut [Line]) {
    for datagram in &core.out.datagrams {
        let bytes = &core.out.bytes[datagram.start..datagram.start + datagram.len];
        // RFC 5761 4: RTCP's packet types
        if (192..224).contains(&bytes[1]) {
            for packet in rtcp::parse(bytes) {
                if let Rtcp::SenderReport { ssrc, info, .. } = packet.unwrap() {
                    let line = lines.iter_mut().find(|line| line.ssrc == ssrc).unwrap();
                    line.report = Some((our_clock(info.ntp), info.timestamp));
                }
            }
        } else {
            let packet = Packet::parse(bytes).unwrap();
            lines.iter_mut().find(|line| line.ssrc == packet.ssrc).unwrap().take(packet.timestamp);
        }
    }
    core.out.datagrams.clear();
    core.out.bytes.clear();
    core.out.events.clear();
}

#[test]
fn sound_and_picture_stay_together_for_ten_minutes_with_a_fast_clock_and_different_delays() {
    let mut core = Core::new(7);
    let config = LegConfig {
        secure: false,
        learn: true,
        silence_ms: 5000,
        rtcp_mux: true,
        label: String::new(),
        unix_offset_ns: 0,
    };
    let leg = core.open_leg(config, START);
    core.with_leg(leg, START, |leg, out| leg.set_peer("192.0.2.2:4000".parse().unwrap(), None, START, out)).unwrap();
    let stream = core.publish_stream("tower/main", 12_000 * MS, 8 << 20, START).unwrap();
    let mut lines = [
        line(&mut core, stream, leg, Codec::H264, 90_000, 40, PICTURE_DELAY),
        line(&mut core, stream, leg, Codec::Opus, 48_000, 20, SOUND_DELAY),
    ];
    let (mut apart, mut compared) = (0, 0u64);
    let mut now = START;
    while now < START + MINUTES * 60_000 * MS {
        let next = if lines[0].due() <= lines[1].due() { 0 } else { 1 };
        let due = lines[next].due();
        while let Some(wake) = core.next_wake().filter(|&wake| wake <= due) {
            now = now.max(wake);
            core.poll(now);
            read(&mut core, &mut lines);
        }
        now = due;
        lines[next].write(&mut core);
        read(&mut core, &mut lines);
        if let (Some(picture), Some(sound)) = (lines[0].error, lines[1].error) {
            apart = apart.max((picture - sound).abs());
            compared += 1;
        }
    }
    assert!(compared > MINUTES * 60 * 70, "{compared}");
    for line in &lines {
        assert!(line.written.len() <= 1 && line.seen + 1 >= line.next, "everything was sent");
        assert!(line.worst < i128::from(20 * MS), "{:?}: {} ns beside its capture", line.codec, line.worst);
    }
    assert!(apart < i128::from(45 * MS), "{apart} ns apart");
    // the skew alone would have taken them 120 ms from where they began, the delays 60 ms from each other
    assert!(apart < i128::from(20 * MS), "{apart} ns apart");
}
