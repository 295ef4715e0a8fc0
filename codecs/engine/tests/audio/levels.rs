//! Loudness, and who is taken for a speaker.

use crate::rig::*;
use _engine::audio::Level;
use _engine::unit::{Codec, TrackId};

/// Loudness after some time, and the part of it in which the input was active.
fn watch(codec: Codec, sound: Sound, seconds: f64) -> (i8, f64) {
    let mut rig = Rig::new().sender(Sender::new(1, codec, sound), Link::default()).listener(1, Codec::Pcmu, &[]);
    let mut levels: Vec<Level> = Vec::new();
    let (mut active, mut loudest) = (0, -127);
    let ticks = (seconds * 50.0) as usize;
    for _ in 0..ticks {
        rig.tick();
        rig.mixer.levels(&mut levels);
        assert_eq!((levels.len(), levels[0].track), (1, TrackId(1)));
        active += usize::from(levels[0].active);
        loudest = loudest.max(levels[0].dbov);
    }
    (loudest, active as f64 / ticks as f64)
}

#[test]
fn loudness_is_measured_as_rfc_6464_says() {
    for codec in CODECS {
        // a sine's power is 3 dB below its peak's
        let (loudest, _) = watch(codec, tone(440.0, 0.1), 3.0);
        assert!((-24..=-22).contains(&loudest), "{codec:?}: {loudest}");
    }
    assert_eq!(watch(Codec::Pcmu, silence(), 2.0).0, -127);
    // the smallest A-law step, 8 of 32,768
    assert_eq!(watch(Codec::Pcma, silence(), 2.0).0, -72);
}

#[test]
fn speech_and_tones_are_active_breath_and_noise_are_not() {
    for codec in CODECS {
        for (what, sound, least, most) in [
            ("voice", voice(0.2), 0.9, 1.0),
            ("quiet voice", voice(0.03), 0.85, 1.0),
            ("tone", tone(440.0, 0.1), 0.9, 1.0),
            ("high tone", tone(2_000.0, 0.1), 0.9, 1.0),
            ("breath", breath(0.1, 1), 0.0, 0.02),
            ("noise", noise(0.1, 2), 0.0, 0.02),
            ("silence", silence(), 0.0, 0.0),
        ] {
            let (loudest, active) = watch(codec, sound, 20.0);
            assert!((least..=most).contains(&active), "{codec:?} {what}: active {active:.2}, {loudest} dBov");
        }
    }
}
