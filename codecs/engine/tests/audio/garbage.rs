//! What isn't sound, or not in order, costs only itself.

use crate::rig::*;
use _engine::audio::{Mixer, OutputId, OutputSpec, TICK_NS};
use _engine::unit::{Codec, TrackId, Unit};
use proptest::prelude::*;
use std::sync::Arc;

fn unit(codec: Codec, pts: i64, payload: Vec<u8>) -> Arc<Unit> {
    Arc::new(Unit {
        track: TrackId(1),
        codec,
        pts,
        dts: pts,
        keyframe: true,
        contiguous: true,
        capture: 0,
        arrival: EPOCH,
        payload: payload.into(),
        nals: Box::default(),
        level: None,
    })
}

fn mixer(to: Codec) -> Mixer {
    let mut mixer = Mixer::new();
    mixer.set_inputs(&[TrackId(1)]).unwrap();
    let spec = OutputSpec { id: OutputId(1), track: TrackId(2), codec: to, bitrate_bps: 32_000, exclude: vec![] };
    mixer.add_output(spec).unwrap();
    mixer
}

fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![Codec::Opus, Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu, Codec::H264, Codec::L16])
}

fn any_pts() -> impl Strategy<Value = i64> {
    prop_oneof![8 => (0i64..200).prop_map(|n| n * 960), 2 => 0i64..1_000_000, 1 => any::<i64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_units_bring_it_down(
        units in prop::collection::vec(
            (any_codec(), any_pts(), prop::collection::vec(any::<u8>(), 0..400), 0u64..60, 0u8..4), 1..120
        ),
        to in prop::sample::select(CODECS.to_vec()),
    ) {
        let mut mixer = mixer(to);
        let mut out = Vec::new();
        let mut now = EPOCH;
        let mut ticks = 0;
        for (codec, pts, payload, wait_ms, before_tick) in units {
            mixer.push(&unit(codec, pts, payload), now + wait_ms * MS);
            for _ in 0..before_tick {
                mixer.tick(now, &mut out);
                now += TICK_NS;
                ticks += 1;
            }
        }
        prop_assert_eq!(out.len(), ticks);
        let report = mixer.report();
        let input = &report.inputs[0];
        prop_assert!(input.buffered_ms < 1_000 && input.drift_ppm.abs() <= 600.0, "{:?}", input);
    }

    #[test]
    fn damaged_frames_do_not_outlive_themselves(seed in any::<u64>(), codec in prop::sample::select(CODECS.to_vec())) {
        let mut luck = Luck(seed);
        let mut sender = Sender::new(1, codec, tone(440.0, 0.25));
        let mut mixer = mixer(Codec::G722);
        let (mut out, mut now) = (Vec::new(), EPOCH);
        for n in 0..200 {
            let mut unit = sender.unit();
            if n < 100 && luck.part() < 0.3 {
                let at = luck.next() as usize % unit.payload.len();
                unit.payload[at] ^= luck.next() as u8;
                let keep = 1 + luck.next() as usize % unit.payload.len();
                unit.payload = unit.payload[..keep].into();
            }
            mixer.push(&Arc::new(unit), now);
            mixer.tick(now, &mut out);
            now += TICK_NS;
        }
        let mut decoder = _engine::audio::codec::Decoder::new(Codec::G722).unwrap();
        let mut heard = vec![0.0; out.len() * 320];
        for (unit, samples) in out.iter().zip(heard.chunks_exact_mut(320)) {
            decoder.decode(&unit.payload, samples).unwrap();
        }
        let snr = snr_db(&heard[150 * 320..], 16_000.0, 440.0);
        prop_assert!(snr > 15.0, "{codec:?}: {snr:.1} dB after the damage");
    }
}

#[test]
fn a_broken_frame_is_counted_and_its_time_is_filled() {
    let mut sender = Sender::new(1, Codec::Opus, tone(440.0, 0.25));
    let mut mixer = mixer(Codec::Opus);
    let (mut out, mut now) = (Vec::new(), EPOCH);
    for n in 0..100 {
        let mut unit = sender.unit();
        if n == 50 {
            unit.payload = Box::default();
        }
        if n == 60 {
            // a code-3 packet that says it holds 63 frames
            unit.payload = vec![0xff, 0x3f, 1, 2, 3].into();
        }
        mixer.push(&Arc::new(unit), now);
        mixer.tick(now, &mut out);
        now += TICK_NS;
    }
    let report = mixer.report();
    assert_eq!((report.inputs[0].broken_units, report.inputs[0].units), (2, 98));
    assert_eq!(out.len(), 100);
}

#[test]
fn an_unending_heap_of_units_is_bounded() {
    let mut mixer = mixer(Codec::Pcma);
    for n in 0..100_000 {
        mixer.push(&unit(Codec::Pcma, n * 160, vec![0xd5; 160]), EPOCH + n as u64 * 20 * MS);
    }
    let input = &mixer.report().inputs[0];
    assert_eq!(input.units, 100_000);
    assert!(input.overflowed_units >= 99_900, "{input:?}");
}
