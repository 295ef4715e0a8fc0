//! Senders on clocks of their own, a bad link, a mixer driven by fake time, listeners that measure.

use _engine::audio::codec::{self, Decoder, Encoder};
use _engine::audio::{Mixer, OutputId, OutputSpec, STEP, TICK_NS};
use _engine::unit::{Codec, Ns, TrackId, Unit, UnitRef};
use std::f64::consts::TAU;
use std::sync::Arc;

pub const MS: Ns = 1_000_000;
pub const SECOND: Ns = 1_000 * MS;
pub const CODECS: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu];
/// When the first sample is captured: not 0, so that mistakes with signs show.
pub const EPOCH: Ns = 1_000 * SECOND;

/// A small seeded generator (splitmix64): the same bad luck at every run.
pub struct Luck(pub u64);

impl Luck {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..1
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub type Sound = Box<dyn FnMut(f64) -> f32>;

/// A sound by time in seconds of the sender's clock.
pub fn tone(hz: f64, amplitude: f64) -> Sound {
    Box::new(move |t| (amplitude * (TAU * hz * t).sin()) as f32)
}

/// Something like a voice: harmonics of 120 Hz in syllables, four a second, with short pauses.
pub fn voice(amplitude: f64) -> Sound {
    Box::new(move |t| {
        let syllable = (TAU * 4.0 * t).sin().max(0.0);
        let pitch = 120.0 + 15.0 * (TAU * 0.7 * t).sin() / (TAU * 0.7);
        let harmonics = (1..=20).map(|n| (TAU * pitch * t * f64::from(n)).sin() / f64::from(n)).sum::<f64>();
        (amplitude * syllable * harmonics / 1.5) as f32
    })
}

/// In and out, every three seconds, and nothing of a period: what a microphone close to the mouth hears of breath.
pub fn breath(amplitude: f64, seed: u64) -> Sound {
    let mut luck = Luck(seed);
    let mut last = 0.0;
    Box::new(move |t| {
        last += 0.2 * (luck.part() * 2.0 - 1.0 - last);
        (amplitude * (TAU * t / 3.0).sin().max(0.0) * last * 3.0) as f32
    })
}

pub fn silence() -> Sound {
    Box::new(|_| 0.0)
}

pub fn noise(amplitude: f64, seed: u64) -> Sound {
    let mut luck = Luck(seed);
    Box::new(move |_| (amplitude * (luck.part() * 2.0 - 1.0)) as f32)
}

/// Somebody's microphone, encoder and packetiser.
pub struct Sender {
    pub track: TrackId,
    codec: Codec,
    encoder: Encoder,
    sound: Sound,
    /// Packet time: steps of 20 ms in a unit; 0 halves one.
    steps: usize,
    /// How much faster its clock runs.
    skew: f64,
    samples: u64,
    pts: i64,
    halves: Vec<Unit>,
}

impl Sender {
    pub fn new(track: u32, codec: Codec, sound: Sound) -> Self {
        let mut encoder = Encoder::new(codec, 32_000).unwrap();
        encoder.set_loss(0); // with FEC frames of several kinds alternate, which `join_opus` couldn't
        let (samples, pts) = (0, 123_456);
        Sender { track: TrackId(track), codec, encoder, sound, steps: 1, skew: 0.0, samples, pts, halves: Vec::new() }
    }

    pub fn skew_ppm(mut self, ppm: f64) -> Self {
        self.skew = ppm * 1e-6;
        self
    }

    /// 10 (not Opus), 20, 40 or 60 ms.
    pub fn packet_time_ms(mut self, ms: usize) -> Self {
        self.steps = ms / 20;
        self
    }

    pub fn set_loss(&mut self, percent: u8) {
        self.encoder.set_loss(percent);
    }

    pub fn jump_pts(&mut self, by: i64) {
        self.pts += by;
    }

    pub fn set_codec(&mut self, codec: Codec) {
        self.codec = codec;
        self.encoder = Encoder::new(codec, 32_000).unwrap();
        self.encoder.set_loss(0);
    }

    /// Time passes without a unit: silence suppression.
    pub fn pause(&mut self, steps: usize) {
        self.samples += (steps * STEP) as u64;
        self.pts += self.ticks(steps);
    }

    fn ticks(&self, steps: usize) -> i64 {
        i64::from(codec::format(self.codec).unwrap().clock_hz) * steps as i64 / 50
    }

    /// True time at which so many samples of its clock have passed.
    fn at(&self, samples: u64) -> Ns {
        EPOCH + (samples as f64 / 48_000.0 / (1.0 + self.skew) * 1e9) as Ns
    }

    /// The next unit; it leaves when its last sample was captured.
    pub fn unit(&mut self) -> Unit {
        if let Some(half) = self.halves.pop() {
            return half;
        }
        let capture = self.at(self.samples);
        let mut frames = Vec::new();
        for _ in 0..self.steps.max(1) {
            let step: [f32; STEP] = std::array::from_fn(|i| (self.sound)((self.samples + i as u64) as f64 / 48_000.0));
            self.samples += STEP as u64;
            let mut frame = Vec::new();
            self.encoder.encode(&step, &mut frame);
            frames.push(frame);
        }
        let unit = |pts, capture, arrival, payload: Vec<u8>| Unit {
            track: self.track,
            codec: self.codec,
            pts,
            dts: pts,
            keyframe: true,
            contiguous: true,
            capture,
            arrival,
            payload: payload.into(),
            nals: Box::default(),
            level: None,
        };
        let first = if self.steps == 0 {
            let half = frames[0].len() / 2;
            let later = frames[0].split_off(half);
            let middle = self.samples - STEP as u64 / 2;
            let ticks = self.ticks(1) / 2;
            let second = unit(self.pts + ticks, self.at(middle), self.at(self.samples), later);
            let first = unit(self.pts, capture, self.at(middle), frames.remove(0));
            self.halves.push(second);
            first
        } else {
            let payload = if self.codec == Codec::Opus { join_opus(&frames) } else { frames.concat() };
            unit(self.pts, capture, self.at(self.samples), payload)
        };
        self.pts += self.ticks(self.steps.max(1));
        first
    }
}

/// RFC 6716 3.2.5: frames of one kind in a packet of code 3 with lengths of their own.
fn join_opus(packets: &[Vec<u8>]) -> Vec<u8> {
    if packets.len() == 1 || packets.iter().any(|packet| packet[0] != packets[0][0]) {
        return packets[0].clone();
    }
    let mut joined = vec![packets[0][0] | 3, 0x80 | packets.len() as u8];
    for packet in &packets[..packets.len() - 1] {
        match packet.len() - 1 {
            short @ 0..=251 => joined.push(short as u8),
            long => joined.extend([252 + (long % 4) as u8, ((long - 252 - long % 4) / 4) as u8]),
        }
    }
    packets.iter().for_each(|packet| joined.extend(&packet[1..]));
    joined
}

/// What happens to units between sender and mixer.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub loss: f64,
    pub jitter_ms: f64,
    pub delay_ms: f64,
    /// A stall: what arrives, arrives then.
    pub not_before: Ns,
}

/// Decodes an output and keeps what was heard.
pub struct Listener {
    pub output: OutputId,
    pub codec: Codec,
    decoder: Decoder,
    pub units: Vec<(i64, Ns, Option<i8>)>,
    pub heard: Vec<f32>,
    pub keep: bool,
}

impl Listener {
    pub fn rate_hz(&self) -> f64 {
        f64::from(codec::format(self.codec).unwrap().rate_hz)
    }

    fn take(&mut self, unit: &Unit) {
        self.units.push((unit.pts, unit.capture, unit.level));
        let samples = codec::samples(self.codec, &unit.payload).unwrap();
        assert_eq!(samples as f64, self.rate_hz() / 50.0, "20 ms in a unit");
        let start = self.heard.len();
        self.heard.resize(start + samples, 0.0);
        self.decoder.decode(&unit.payload, &mut self.heard[start..]).unwrap();
        if !self.keep {
            let surplus = self.heard.len().saturating_sub(self.rate_hz() as usize);
            self.heard.drain(..surplus);
        }
    }

    /// What was heard from one second to another.
    pub fn between(&self, from_s: f64, to_s: f64) -> &[f32] {
        let index = |s: f64| ((s * self.rate_hz()) as usize).min(self.heard.len());
        &self.heard[index(from_s)..index(to_s)]
    }
}

pub struct Rig {
    pub mixer: Mixer,
    pub now: Ns,
    senders: Vec<(Sender, Link, Luck, Vec<UnitRef>)>,
    pub listeners: Vec<Listener>,
    units: Vec<Unit>,
}

impl Rig {
    /// Ticks fall 7 ms after the senders' grid.
    pub fn new() -> Self {
        let mixer = Mixer::new();
        Rig { mixer, now: EPOCH + 7 * MS, senders: Vec::new(), listeners: Vec::new(), units: Vec::new() }
    }

    pub fn sender(mut self, sender: Sender, link: Link) -> Self {
        let luck = Luck(u64::from(sender.track.0) * 7 + 1);
        self.senders.push((sender, link, luck, Vec::new()));
        let tracks: Vec<TrackId> = self.senders.iter().map(|(sender, ..)| sender.track).collect();
        self.mixer.set_inputs(&tracks).unwrap();
        self
    }

    pub fn listener(mut self, id: u32, codec: Codec, exclude: &[u32]) -> Self {
        let exclude = exclude.iter().map(|&track| TrackId(track)).collect();
        let spec = OutputSpec { id: OutputId(id), track: TrackId(1_000 + id), codec, bitrate_bps: 32_000, exclude };
        self.mixer.add_output(spec).unwrap();
        self.listeners.push(Listener {
            output: OutputId(id),
            codec,
            decoder: Decoder::new(codec).unwrap(),
            units: Vec::new(),
            heard: Vec::new(),
            keep: true,
        });
        self
    }

    pub fn edit(&mut self, index: usize) -> &mut Sender {
        &mut self.senders[index].0
    }

    /// Nothing arrives for so long; then all at once.
    pub fn stall(&mut self, ms: u64) {
        for (_, link, _, flying) in &mut self.senders {
            link.not_before = self.now + ms * MS;
            for unit in flying.iter_mut() {
                let unit = Arc::get_mut(unit).unwrap();
                unit.arrival = unit.arrival.max(link.not_before);
            }
        }
    }

    pub fn set_link(&mut self, index: usize, link: Link) {
        self.senders[index].1 = link;
    }

    /// One tick, and what arrives before it.
    pub fn tick(&mut self) {
        for (sender, link, luck, flying) in &mut self.senders {
            // nothing flies longer than a second
            while sender.at(sender.samples) < self.now + 100 * MS {
                let mut unit = sender.unit();
                let delay_ms = link.delay_ms + link.jitter_ms * luck.part();
                unit.arrival = (unit.arrival + (delay_ms * MS as f64) as Ns).max(link.not_before);
                if luck.part() >= link.loss {
                    flying.push(Arc::new(unit));
                }
            }
            flying.sort_by_key(|unit| unit.arrival);
            let arrived = flying.partition_point(|unit| unit.arrival <= self.now);
            for unit in flying.drain(..arrived) {
                self.mixer.push(&unit, unit.arrival);
            }
        }
        self.units.clear();
        self.mixer.tick(self.now, &mut self.units);
        for unit in &self.units {
            let listener =
                self.listeners.iter_mut().find(|listener| listener.output.0 + 1_000 == unit.track.0).unwrap();
            listener.take(unit);
        }
        self.now += TICK_NS;
    }

    pub fn run(&mut self, seconds: f64) {
        for _ in 0..(seconds * 50.0) as usize {
            self.tick();
        }
    }
}

/// Power of the part of `samples` that is a tone of `hz`, and of the rest, fitted in windows of 20 ms.
fn split(samples: &[f32], rate_hz: f64, hz: f64) -> (f64, f64) {
    let window = (rate_hz / 50.0) as usize;
    let (mut inside, mut outside) = (0.0, 0.0);
    for chunk in samples.chunks_exact(window) {
        // least squares on sine and cosine
        let (mut ss, mut sc, mut cc, mut xs, mut xc, mut xx) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for (i, &x) in chunk.iter().enumerate() {
            let (s, c) = (TAU * hz * i as f64 / rate_hz).sin_cos();
            let x = f64::from(x);
            ss += s * s;
            sc += s * c;
            cc += c * c;
            xs += x * s;
            xc += x * c;
            xx += x * x;
        }
        let determinant = ss * cc - sc * sc;
        let (a, b) = ((xs * cc - xc * sc) / determinant, (xc * ss - xs * sc) / determinant);
        let fitted = a * xs + b * xc;
        inside += fitted;
        outside += (xx - fitted).max(0.0);
    }
    (inside / samples.len() as f64, outside / samples.len() as f64)
}

/// Signal to noise, where the signal is a tone of `hz`.
pub fn snr_db(samples: &[f32], rate_hz: f64, hz: f64) -> f64 {
    let (inside, outside) = split(samples, rate_hz, hz);
    10.0 * (inside / outside.max(1e-20)).log10()
}

/// Amplitude of the tone of `hz`.
pub fn amplitude(samples: &[f32], rate_hz: f64, hz: f64) -> f64 {
    (2.0 * split(samples, rate_hz, hz).0).sqrt()
}

/// Parts of 10 ms with less than a tenth of the power of a tone of `amplitude`.
pub fn holes(samples: &[f32], rate_hz: f64, amplitude: f64) -> usize {
    let window = (rate_hz / 100.0) as usize;
    let power = |chunk: &[f32]| chunk.iter().map(|x| f64::from(x * x)).sum::<f64>() / chunk.len() as f64;
    samples.chunks_exact(window).filter(|chunk| power(chunk) < 0.05 * amplitude * amplitude).count()
}

/// The greatest step between neighbours, in parts of that of a tone of `hz` and `amplitude`.
pub fn roughness(samples: &[f32], rate_hz: f64, hz: f64, amplitude: f64) -> f64 {
    let steepest = samples.windows(2).fold(0.0f64, |most, pair| most.max(f64::from((pair[1] - pair[0]).abs())));
    steepest / (2.0 * amplitude * (TAU * hz / rate_hz / 2.0).sin())
}
