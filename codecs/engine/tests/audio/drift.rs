//! Senders whose clocks run faster or slower than ours, for hours.

use crate::rig::*;
use _engine::unit::Codec;

fn drift_is_taken_up(ppm: f64) {
    let sender = Sender::new(1, Codec::Pcma, tone(440.0, 0.25)).skew_ppm(ppm);
    let link = Link { jitter_ms: 5.0, ..Link::default() };
    let mut rig = Rig::new().sender(sender, link).listener(1, Codec::Pcma, &[]);
    rig.listeners[0].keep = false;
    for minute in 0..60 {
        rig.run(60.0);
        let input = &rig.mixer.report().inputs[0];
        let snr = snr_db(&rig.listeners[0].heard, 8_000.0, 440.0 * (1.0 + ppm * 1e-6));
        assert!(snr > 33.0, "minute {minute}: SNR {snr:.1} dB, {input:?}");
        assert!((20..=36).contains(&input.buffered_ms), "minute {minute}: {input:?}");
        if minute > 10 {
            let error = f64::from(input.drift_ppm) - ppm;
            assert!(error.abs() < 10.0, "minute {minute}: {input:?}");
        }
    }
    let input = &rig.mixer.report().inputs[0];
    assert!(input.concealed_frames <= 5 && input.late_units <= 5, "{input:?}");
}

// Two tests, for two cores: an hour at 200 ppm is 720 ms too much or too little.

#[test]
fn a_senders_clock_that_is_fast_for_an_hour_is_followed() {
    drift_is_taken_up(200.0);
}

#[test]
fn a_senders_clock_that_is_slow_for_an_hour_is_followed() {
    drift_is_taken_up(-200.0);
}
