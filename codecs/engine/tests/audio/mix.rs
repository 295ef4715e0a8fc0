//! Who hears whom, and what that costs.

use crate::rig::*;
use _engine::audio::{MixError, Mixer, OutputId, OutputSpec, TICK_NS};
use _engine::unit::{Codec, TrackId};

#[test]
fn each_hears_all_others_and_never_oneself() {
    let tones = [400.0, 700.0, 1_100.0, 1_700.0];
    let mut rig = Rig::new();
    for (n, hz) in tones.into_iter().enumerate() {
        rig = rig.sender(Sender::new(n as u32, Codec::G722, tone(hz, 0.1)), Link::default());
    }
    for n in 0..4 {
        rig = rig.listener(n, Codec::G722, &[n]);
    }
    rig.run(4.0);
    for (n, listener) in rig.listeners.iter().enumerate() {
        let heard = listener.between(2.0, 4.0);
        for (m, hz) in tones.into_iter().enumerate() {
            // windows of 20 ms tell tones 50 Hz apart, if all are multiples of it
            let loud = amplitude(heard, 16_000.0, hz);
            if n == m {
                assert!(loud < 0.001, "{n} hears itself at {loud}");
            } else {
                assert!((0.095..0.105).contains(&loud), "{n} hears {m} at {loud}");
            }
        }
    }
}

#[test]
fn an_exclusion_may_change_and_inputs_may_come_and_go_without_a_click() {
    let mut rig = Rig::new()
        .sender(Sender::new(1, Codec::Pcma, tone(440.0, 0.25)), Link::default())
        .sender(Sender::new(2, Codec::Opus, silence()), Link::default())
        .listener(1, Codec::G722, &[]);
    rig.run(2.0);
    rig.mixer.set_exclude(OutputId(1), &[TrackId(1)]).unwrap();
    rig.run(1.0);
    assert!(amplitude(rig.listeners[0].between(2.2, 3.0), 16_000.0, 440.0) < 0.001);
    rig.mixer.set_exclude(OutputId(1), &[]).unwrap();
    rig.run(1.0);
    rig.mixer.set_inputs(&[TrackId(2)]).unwrap();
    rig.run(1.0);
    assert!(amplitude(rig.listeners[0].between(4.2, 5.0), 16_000.0, 440.0) < 0.001);
    rig.mixer.set_inputs(&[TrackId(2), TrackId(1), TrackId(1)]).unwrap();
    rig.run(2.0);
    assert_eq!(rig.mixer.report().inputs.len(), 2);
    let listener = &rig.listeners[0];
    assert!(snr_db(listener.between(6.0, 7.0), 16_000.0, 440.0) > 32.0);
    let rough = roughness(listener.between(1.0, 7.0), 16_000.0, 440.0, 0.25);
    assert!(rough < 1.5, "a jump {rough:.1} times the tone's own steepest");
}

#[test]
fn loud_voices_together_are_limited_not_wrapped() {
    let mut rig = Rig::new();
    for n in 0..8 {
        rig = rig.sender(Sender::new(n, Codec::G722, tone(440.0, 0.6)), Link::default());
    }
    rig = rig.listener(1, Codec::G722, &[]);
    rig.run(4.0);
    let heard = rig.listeners[0].between(2.0, 4.0);
    let rough = roughness(heard, 16_000.0, 440.0, 1.0);
    let snr = snr_db(heard, 16_000.0, 440.0);
    let loud = amplitude(heard, 16_000.0, 440.0);
    assert!(loud > 0.9 && rough < 1.3 && snr > 30.0, "amplitude {loud:.2}, roughness {rough:.2}, SNR {snr:.1} dB");
}

/// `speakers` of `parties` speak, every party hears all others in Opus.
fn room(parties: u32, speakers: u32) -> Rig {
    let mut rig = Rig::new();
    for n in 0..parties {
        let sound = if n < speakers { voice(0.2) } else { noise(0.0005, u64::from(n)) };
        rig = rig.sender(Sender::new(n, Codec::Opus, sound), Link::default());
    }
    for n in 0..parties {
        rig = rig.listener(n, Codec::Opus, &[n]);
    }
    rig
}

#[test]
fn sixteen_parties_share_the_encodings_of_who_hears_the_same() {
    for (speakers, encodings) in [(1, 2), (2, 3), (16, 16)] {
        let mut rig = room(16, speakers);
        rig.run(5.0);
        assert_eq!(rig.mixer.report().encoders, encodings, "{speakers} speak");
        for listener in &rig.listeners {
            assert_eq!(listener.units.len(), 250);
        }
    }
}

#[test]
fn encoders_are_split_and_joined_as_people_speak_and_fall_silent() {
    let spoken = |from: f64, to: f64, hz: f64| -> Sound {
        let mut sound = tone(hz, 0.2);
        Box::new(move |t| if (from..to).contains(&t) { sound(t) } else { 0.0 })
    };
    for codec in [Codec::Opus, Codec::G722, Codec::Pcmu] {
        let mut rig = Rig::new()
            .sender(Sender::new(0, Codec::G722, tone(440.0, 0.2)), Link::default())
            .sender(Sender::new(1, Codec::G722, spoken(3.0, 5.0, 700.0)), Link::default());
        for n in 0..3 {
            rig = rig.listener(n, codec, &[n]);
        }
        rig.run(2.5);
        assert_eq!(rig.mixer.report().encoders, 2, "0 alone speaks: one for it, one for the two others");
        rig.run(2.0);
        assert_eq!(rig.mixer.report().encoders, 3, "0 and 1 speak");
        rig.run(5.5);
        assert_eq!(rig.mixer.report().encoders, 2, "only 0 speaks again");
        // 1 was moved to another encoder and back: no click in the tone that it hears all the time
        let listener = &rig.listeners[1];
        let heard = listener.between(1.5, 9.9);
        let rough = roughness(heard, listener.rate_hz(), 440.0, 0.2);
        assert!(rough < 1.15, "{codec:?}: a jump {rough:.2} times the tone's own steepest");
        for (n, part) in heard.chunks_exact((listener.rate_hz() / 5.0) as usize).enumerate() {
            let snr = snr_db(part, listener.rate_hz(), 440.0);
            assert!(snr > 34.0, "{codec:?}: {snr:.1} dB in part {n}");
        }
    }
}

#[test]
fn outputs_that_differ_get_what_they_asked_for() {
    let mut rig = Rig::new().sender(Sender::new(1, Codec::Opus, tone(440.0, 0.25)), Link::default());
    for (id, codec) in CODECS.into_iter().enumerate() {
        rig = rig.listener(id as u32, codec, &[]).listener(id as u32 + 10, codec, &[]);
    }
    rig.run(3.0);
    assert_eq!(rig.mixer.report().encoders, 4);
    for listener in &rig.listeners {
        let snr = snr_db(listener.between(1.5, 3.0), listener.rate_hz(), 440.0);
        assert!(snr > 30.0, "{:?}: {snr:.1} dB", listener.codec);
    }
}

#[test]
fn times_go_on_evenly_and_say_when_the_sound_was_captured() {
    let link = Link { delay_ms: 60.0, jitter_ms: 10.0, ..Link::default() };
    let mut rig = Rig::new()
        .sender(Sender::new(1, Codec::Pcma, voice(0.3)), link)
        .listener(1, Codec::Opus, &[])
        .listener(2, Codec::G722, &[]);
    rig.run(10.0);
    let report = rig.mixer.report();
    for (listener, step) in rig.listeners.iter().zip([960, 160]) {
        assert_eq!(listener.units[0].0, 0);
        assert!(listener.units.windows(2).all(|pair| pair[1].0 - pair[0].0 == step));
        let (_, captured, level) = listener.units[499];
        // packet time and network, then the buffer, then resampler and encoder
        let age_ms = (rig.now - TICK_NS - captured) as f64 / 1e6;
        let expected = 20.0 + 60.0 + f64::from(report.inputs[0].buffered_ms);
        assert!((age_ms - expected - 6.0).abs() < 7.0, "captured {age_ms:.1} ms ago, not about {expected:.1}");
        let steps = listener.units[100..].windows(2).map(|pair| pair[1].1 as i64 - pair[0].1 as i64);
        assert!(steps.into_iter().all(|step| (step - 20 * MS as i64).abs() < MS as i64 / 2), "capture times are even");
        assert!(level.is_some_and(|level| (-60..=-5).contains(&level)), "{level:?}");
    }
}

#[test]
fn a_shell_that_slept_goes_on_at_the_present() {
    let mut rig = Rig::new().sender(Sender::new(1, Codec::G722, tone(440.0, 0.25)), Link::default()).listener(
        1,
        Codec::G722,
        &[],
    );
    rig.run(3.0);
    rig.now += 2 * SECOND;
    rig.run(3.0);
    let report = rig.mixer.report();
    assert_eq!(report.late_ticks, 1);
    let units = &rig.listeners[0].units;
    assert_eq!(units[150].0 - units[149].0, 101 * 160);
    assert!(report.inputs[0].buffered_ms < 60, "{report:?}");
    assert!(snr_db(rig.listeners[0].between(4.0, 6.0), 16_000.0, 440.0) > 40.0);
}

#[test]
fn the_callers_mistakes_are_named() {
    let mut mixer = Mixer::new();
    let tracks: Vec<TrackId> = (0..65).map(TrackId).collect();
    assert_eq!(mixer.set_inputs(&tracks), Err(MixError::TooManyInputs(65)));
    let spec =
        |id, codec| OutputSpec { id: OutputId(id), track: TrackId(9), codec, bitrate_bps: 32_000, exclude: vec![] };
    assert_eq!(mixer.add_output(spec(1, Codec::H264)), Err(MixError::Codec(Codec::H264)));
    mixer.add_output(spec(1, Codec::Opus)).unwrap();
    assert_eq!(mixer.add_output(spec(1, Codec::Opus)), Err(MixError::OutputExists(OutputId(1))));
    assert_eq!(mixer.set_exclude(OutputId(2), &[]), Err(MixError::UnknownOutput(OutputId(2))));
    assert!(mixer.remove_output(OutputId(1)) && !mixer.remove_output(OutputId(1)));
    let mut units = Vec::new();
    mixer.tick(EPOCH, &mut units);
    assert!(units.is_empty());
}
