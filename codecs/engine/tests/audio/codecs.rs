//! Every codec into every other, at every packet time, and changes on the way.

use crate::rig::*;
use _engine::unit::Codec;

#[test]
fn a_tone_comes_out_of_every_codec_as_it_went_into_every_other() {
    for from in CODECS {
        for to in CODECS {
            let sender = Sender::new(1, from, tone(440.0, 0.25));
            let mut rig = Rig::new().sender(sender, Link::default()).listener(1, to, &[]);
            rig.run(4.0);
            let listener = &rig.listeners[0];
            let heard = listener.between(2.0, 4.0);
            let snr = snr_db(heard, listener.rate_hz(), 440.0);
            let loud = amplitude(heard, listener.rate_hz(), 440.0);
            assert!(snr > 32.0, "{from:?} to {to:?}: SNR {snr:.1} dB");
            assert!((0.24..0.26).contains(&loud), "{from:?} to {to:?}: amplitude {loud:.3}");
            if (from, to) == (Codec::G722, Codec::G722) {
                assert!(snr > 50.0, "resampling twice costs too much: {snr:.1} dB");
            }
            let input = &rig.mixer.report().inputs[0];
            assert_eq!((input.concealed_frames, input.late_units, input.broken_units), (0, 0, 0));
        }
    }
}

#[test]
fn every_packet_time_is_understood() {
    for codec in CODECS {
        for ms in [10, 20, 40, 60] {
            if codec == Codec::Opus && ms == 10 {
                continue; // the senders here make it from 20
            }
            let sender = Sender::new(1, codec, tone(440.0, 0.25)).packet_time_ms(ms);
            let mut rig = Rig::new().sender(sender, Link::default()).listener(1, Codec::G722, &[]);
            rig.run(5.0);
            let snr = snr_db(rig.listeners[0].between(2.0, 5.0), 16_000.0, 440.0);
            let input = &rig.mixer.report().inputs[0];
            assert!(snr > 32.0, "{codec:?} at {ms} ms: SNR {snr:.1} dB, {input:?}");
            assert_eq!(input.concealed_frames, 0, "{codec:?} at {ms} ms");
            assert!(input.buffered_ms <= 28, "{codec:?} at {ms} ms: {} ms", input.buffered_ms);
        }
    }
}

#[test]
fn the_codec_may_change_in_mid_stream() {
    let sender = Sender::new(1, Codec::Pcma, tone(440.0, 0.25));
    let mut rig = Rig::new().sender(sender, Link::default()).listener(1, Codec::G722, &[]);
    for (n, codec) in [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma, Codec::Opus].into_iter().enumerate() {
        rig.run(3.0);
        let end = 3.0 * (n + 1) as f64;
        let snr = snr_db(rig.listeners[0].between(end - 2.0, end), 16_000.0, 440.0);
        assert!(snr > 32.0, "before {codec:?}: {snr:.1} dB");
        rig.edit(0).set_codec(codec);
    }
    let rough = roughness(rig.listeners[0].between(1.0, 15.0), 16_000.0, 440.0, 0.25);
    assert!(rough < 1.6, "a jump {rough:.1} times the tone's own steepest");
}

#[test]
fn a_jump_of_the_senders_clock_costs_little() {
    for by in [80_000, -80_000, 1 << 31, -(1 << 31), 1 << 50] {
        let sender = Sender::new(1, Codec::Pcma, tone(440.0, 0.25));
        let mut rig = Rig::new().sender(sender, Link::default()).listener(1, Codec::G722, &[]);
        rig.run(3.0);
        rig.edit(0).jump_pts(by);
        rig.run(3.0);
        let heard = rig.listeners[0].between(1.0, 6.0);
        let silent = holes(heard, 16_000.0, 0.25);
        let rough = roughness(heard, 16_000.0, 440.0, 0.25);
        assert!(silent <= 4, "a jump by {by}: {silent}0 ms of silence");
        assert!(rough < 1.6, "a jump by {by}: {rough:.1} times the tone's own steepest");
        let snr = snr_db(rig.listeners[0].between(4.0, 6.0), 16_000.0, 440.0);
        assert!(snr > 32.0, "after a jump by {by}: {snr:.1} dB");
    }
}
