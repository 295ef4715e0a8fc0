//! What mixing costs: `cargo run --release --no-default-features --example mix_cost`.
//!
//! Microseconds of this thread's processor time, so that other work on the machine disturbs little; a tick is 20,000.

use _engine::audio::codec::{self, Decoder, Encoder};
use _engine::audio::{Mixer, OutputId, OutputSpec, STEP, TICK_NS};
use _engine::unit::{Codec, Ns, TrackId, Unit};
use std::hint::black_box;
use std::sync::Arc;

const CODECS: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu];
const FRAMES: usize = 500;

/// Processor time of this thread, s.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the timespec that it is given.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "no clock of the thread's processor time");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Harmonics in syllables, four a second, different for each speaker.
fn voice(speaker: usize, frame: usize) -> [f32; STEP] {
    std::array::from_fn(|i| {
        let t = (frame * STEP + i) as f32 / 48_000.0;
        let pitch = 100.0 + 13.0 * speaker as f32;
        let syllable = (25.1 * t + speaker as f32).sin().max(0.0);
        (1..12).map(|n| (std::f32::consts::TAU * pitch * n as f32 * t).sin() / n as f32).sum::<f32>() * syllable * 0.15
    })
}

fn frames(codec: Codec, speaker: usize, speaks: bool) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(codec, 32_000).expect("one of the four");
    let encode = |frame| {
        let mut payload = Vec::new();
        let step = if speaks { voice(speaker, frame) } else { [0.0; STEP] };
        encoder.encode(&step, &mut payload);
        payload
    };
    (0..FRAMES).map(encode).collect()
}

fn unit(track: usize, codec: Codec, frame: usize, now: Ns, payload: &[u8]) -> Arc<Unit> {
    let pts = frame as i64 * i64::from(codec::format(codec).expect("one of the four").clock_hz) / 50;
    Arc::new(Unit {
        track: TrackId(track as u32),
        codec,
        pts,
        dts: pts,
        keyframe: true,
        contiguous: true,
        capture: 0,
        arrival: now,
        payload: payload.into(),
        nals: Box::default(),
        level: None,
    })
}

/// Microseconds a tick, and the encoders at work: everybody hears everybody else.
fn room(codec: Codec, parties: usize, speakers: usize) -> (f64, u32) {
    let voices: Vec<_> = (0..parties).map(|n| frames(codec, n, n < speakers)).collect();
    let mut mixer = Mixer::new();
    let tracks: Vec<TrackId> = (0..parties).map(|n| TrackId(n as u32)).collect();
    mixer.set_inputs(&tracks).expect("few");
    for n in 0..parties as u32 {
        let spec = OutputSpec {
            id: OutputId(n),
            track: TrackId(1_000 + n),
            codec,
            bitrate_bps: 32_000,
            exclude: vec![TrackId(n)],
        };
        mixer.add_output(spec).expect("new");
    }
    let mut out = Vec::new();
    let mut spent = 0.0;
    let mut now = TICK_NS;
    for frame in 0..FRAMES {
        let voices = voices.iter().enumerate();
        let units: Vec<_> = voices.map(|(n, voice)| unit(n, codec, frame, now, &voice[frame])).collect();
        let start = cpu_s();
        for unit in &units {
            mixer.push(unit, now);
        }
        out.clear();
        mixer.tick(now, &mut out);
        if frame >= FRAMES / 5 {
            spent += cpu_s() - start;
        }
        now += TICK_NS;
    }
    (spent * 1e6 / (FRAMES - FRAMES / 5) as f64, mixer.report().encoders)
}

fn main() {
    println!("libopus: {}", _engine::audio::opus::version());
    println!("\none frame of 20 ms, resampling included in encode   decode us   encode us");
    for codec in CODECS {
        let payloads = frames(codec, 0, true);
        let mut decoder = Decoder::new(codec).expect("one of the four");
        let mut samples = vec![0.0; STEP];
        let start = cpu_s();
        for payload in &payloads {
            let count = codec::samples(codec, payload).expect("valid");
            let decoded = decoder.decode(payload, &mut samples[..count]);
            black_box((decoded.is_ok(), &samples));
        }
        let decode = (cpu_s() - start) * 1e6 / FRAMES as f64;
        let steps: Vec<_> = (0..FRAMES).map(|frame| voice(0, frame)).collect();
        let mut encoder = Encoder::new(codec, 32_000).expect("one of the four");
        let mut payload = Vec::new();
        let start = cpu_s();
        for step in &steps {
            payload.clear();
            encoder.encode(step, &mut payload);
            black_box(&payload);
        }
        let encode = (cpu_s() - start) * 1e6 / FRAMES as f64;
        println!("{:<52}{decode:>8.1}{encode:>12.1}", codec.name());
    }
    println!("\ncodec   parties   speaking   encoders   us a tick   % of a core");
    for codec in CODECS {
        for (parties, speakers) in [(2, 1), (2, 2), (4, 1), (4, 4), (16, 1), (16, 2), (16, 16)] {
            let (us, encoders) = room(codec, parties, speakers);
            let name = codec.name();
            println!("{name:<8}{parties:>7}{speakers:>11}{encoders:>11}{us:>12.0}{:>14.2}", us / 200.0);
        }
    }
}
