//! Loss, jitter, pauses and stalls.

use crate::rig::*;
use _engine::audio::InputReport;
use _engine::unit::{Codec, TrackId};

/// A tone of 440 Hz at 0.25 through a link into G.722.
fn tone_over(codec: Codec, link: Link) -> Rig {
    let mut sender = Sender::new(1, codec, tone(440.0, 0.25));
    sender.set_loss(30);
    Rig::new().sender(sender, link).listener(1, Codec::G722, &[])
}

fn input(rig: &Rig) -> InputReport {
    rig.mixer.report().inputs[0].clone()
}

#[test]
fn loss_is_concealed_without_clicks() {
    for codec in CODECS {
        for (loss, snr_least, holes_most) in [(0.05, 30.0, 0), (0.3, 20.0, 60)] {
            let mut rig = tone_over(codec, Link { loss, ..Link::default() });
            rig.run(21.0);
            let heard = rig.listeners[0].between(1.0, 21.0);
            let rough = roughness(heard, 16_000.0, 440.0, 0.25);
            let snr = snr_db(heard, 16_000.0, 440.0);
            let holes = holes(heard, 16_000.0, 0.25);
            let what = format!("{codec:?} at {loss}: rough {rough:.2}, SNR {snr:.1} dB, {holes}0 ms missing");
            assert!(rough < 1.5, "{what}");
            // libopus takes a pure tone for noise and lets it fade within a frame; voices it carries on
            if codec != Codec::Opus {
                assert!(snr > snr_least && holes <= holes_most, "{what}");
            }
            let input = input(&rig);
            assert!(input.buffered_ms <= 60 && input.drift_ppm.abs() < 100.0, "{what}, {input:?}");
            let units = 1_050.0 * (1.0 - loss);
            assert!((input.units as f64 - units).abs() < 60.0, "{what}, {input:?}");
        }
    }
}

#[test]
fn lost_opus_packets_are_rebuilt_from_the_next() {
    for loss in [0.05, 0.1, 0.2] {
        let mut sender = Sender::new(1, Codec::Opus, voice(0.25));
        sender.set_loss(20);
        let mut rig = Rig::new().sender(sender, Link { loss, ..Link::default() }).listener(1, Codec::G722, &[]);
        rig.run(40.0);
        let input = input(&rig);
        let lost = 2_000.0 - input.units as f64;
        // half of the time the voice pauses, and silence is sent without FEC
        assert!(input.fec_frames as f64 > 0.3 * lost, "{lost} lost: {input:?}");
        assert!((40..=50).contains(&input.buffered_ms), "one packet more is waited for: {input:?}");
    }
    // without loss nobody waits
    let sender = Sender::new(1, Codec::Opus, voice(0.25));
    let mut rig = Rig::new().sender(sender, Link::default()).listener(1, Codec::G722, &[]);
    rig.run(10.0);
    assert!(input(&rig).buffered_ms <= 26, "{:?}", input(&rig));
}

#[test]
fn jitter_is_buffered_as_deep_as_needed() {
    for codec in CODECS {
        for (jitter_ms, least, most) in [(0.0, 22, 26), (10.0, 30, 36), (40.0, 58, 68), (80.0, 95, 108)] {
            let mut rig = tone_over(codec, Link { jitter_ms, ..Link::default() });
            rig.run(40.0);
            let heard = rig.listeners[0].between(20.0, 40.0);
            let rough = roughness(heard, 16_000.0, 440.0, 0.25);
            let snr = snr_db(heard, 16_000.0, 440.0);
            let input = input(&rig);
            let what = format!("{codec:?} at {jitter_ms} ms: rough {rough:.2}, SNR {snr:.1} dB, {input:?}");
            assert!(rough < 1.5 && snr > 30.0, "{what}");
            assert!((least..=most).contains(&input.buffered_ms), "{what}");
            assert!(input.concealed_frames < 10 && input.late_units < 10, "{what}");
        }
    }
}

#[test]
fn the_depth_is_bounded_and_comes_down_again() {
    let mut rig = tone_over(Codec::Pcma, Link { jitter_ms: 250.0, ..Link::default() });
    rig.run(30.0);
    assert!(input(&rig).buffered_ms <= 130, "{:?}", input(&rig));
    rig.set_link(0, Link { jitter_ms: 2.0, ..Link::default() });
    rig.run(120.0);
    assert!((20..=30).contains(&input(&rig).buffered_ms), "{:?}", input(&rig));
    assert!(snr_db(rig.listeners[0].between(149.0, 150.0), 16_000.0, 440.0) > 36.0);
}

#[test]
fn in_a_pause_of_speech_the_depth_comes_down_at_once() {
    let sound = |t: f64| if (10.0..12.0).contains(&t) { 0.0 } else { (0.25 * (2_764.6 * t).sin()) as f32 };
    let mut rig =
        Rig::new().sender(Sender::new(1, Codec::Pcma, Box::new(sound)), Link::default()).listener(1, Codec::G722, &[]);
    rig.run(9.0);
    rig.stall(80);
    rig.run(0.5);
    let deep = input(&rig).buffered_ms;
    rig.run(2.5);
    let flat = input(&rig).buffered_ms;
    assert!(deep > 60 && flat < 40, "{deep} ms, then {flat} ms");
    rig.run(2.0);
    let rough = roughness(rig.listeners[0].between(1.0, 14.0), 16_000.0, 440.0, 0.25);
    assert!(rough < 1.5, "a jump {rough:.1} times the tone's own steepest");
}

#[test]
fn silence_suppression_leaves_no_clicks_and_no_delay() {
    for codec in CODECS {
        let mut rig = tone_over(codec, Link { jitter_ms: 5.0, ..Link::default() });
        for _ in 0..10 {
            rig.run(1.5);
            rig.edit(0).pause(100);
        }
        rig.run(1.5);
        let heard = rig.listeners[0].between(0.5, 16.5);
        let rough = roughness(heard, 16_000.0, 440.0, 0.25);
        let input = input(&rig);
        assert!(rough < 1.5, "{codec:?}: {rough:.2}, {input:?}");
        assert!(input.buffered_ms < 60 && input.late_units == 0, "{codec:?}: {input:?}");
    }
}

#[test]
fn a_stalled_network_is_outlived() {
    for codec in CODECS {
        let mut rig = tone_over(codec, Link::default());
        for stall_ms in [100, 400, 900] {
            rig.run(5.0);
            rig.stall(stall_ms);
        }
        rig.run(10.0);
        let end = rig.listeners[0].heard.len() as f64 / 16_000.0;
        let input = input(&rig);
        let snr = snr_db(rig.listeners[0].between(end - 2.0, end), 16_000.0, 440.0);
        assert!(snr > 20.0 && input.buffered_ms < 80, "{codec:?}: {snr:.1} dB, {input:?}");
        let rough = roughness(rig.listeners[0].between(1.0, end), 16_000.0, 440.0, 0.25);
        assert!(rough < 1.5, "{codec:?}: {rough:.2}");
    }
}

#[test]
fn what_listeners_lose_goes_into_what_they_are_sent() {
    let heard = |reported: Option<f32>| {
        let sender = Sender::new(1, Codec::G722, voice(0.25));
        let mut rig = Rig::new().sender(sender, Link::default()).listener(1, Codec::Opus, &[]);
        for _ in 0..5 {
            rig.run(1.0);
            if let Some(percent) = reported {
                rig.mixer.hear_of_loss(|track| if track == TrackId(1_001) { percent } else { 0.0 });
            }
        }
        rig.listeners.remove(0).heard
    };
    let untold = heard(None);
    assert!(untold == heard(Some(0.0)), "no loss lately is no promise");
    assert!(untold != heard(Some(35.0)), "more of the bit rate goes into repair");
}
