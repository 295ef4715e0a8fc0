//! Audio that is one frame a packet: Opus (RFC 7587), G.711 and G.722 (RFC 3551 4.5), L16 mono.
//!
//! Nothing is ever put together or split: what arrived as one packet leaves as one, whatever its length in time.

use super::{Finished, Frame, Input, PayloadError, Piece, MAX_DATAGRAM_PAYLOAD};
use crate::unit::{Codec, Unit};

/// Opus frames last 120 ms at most (RFC 6716 3.2.5), at 48 kHz.
const MAX_OPUS_TICKS: u32 = 5760;

/// See `payload::Depacketizer`.
#[derive(Debug)]
pub struct Depacketizer {
    codec: Codec,
    contiguous: bool,
}

impl Depacketizer {
    pub fn new(codec: Codec) -> Depacketizer {
        Depacketizer { codec, contiguous: true }
    }

    /// See `payload::Depacketizer::push`. The marker (start of a talk spurt) says nothing about loss.
    pub fn push(&mut self, input: &Input<'_>, out: &mut Vec<Finished>) {
        self.contiguous &= !input.gap;
        match duration(self.codec, input.payload) {
            Ok(duration) => {
                out.push(Finished::Frame(Frame {
                    timestamp: input.timestamp,
                    keyframe: true,
                    contiguous: self.contiguous,
                    arrival: input.arrival,
                    payload: input.payload.into(),
                    nals: Box::default(),
                    size: None,
                    duration,
                }));
                self.contiguous = true;
            }
            Err(why) => {
                out.push(Finished::Dropped { timestamp: input.timestamp, why });
                self.contiguous = false;
            }
        }
    }
}

/// Ticks of the RTP clock that a frame lasts: 48 kHz for Opus, 8 kHz for G.711 and (RFC 3551 4.5.2) G.722, the
/// sampling rate for L16.
///
/// # Errors
/// `Empty`; `Truncated` for half an L16 sample; `Unsupported` for an Opus frame above 120 ms, for AAC and for video.
pub fn duration(codec: Codec, frame: &[u8]) -> Result<u32, PayloadError> {
    let &first = frame.first().ok_or(PayloadError::Empty)?;
    match codec {
        Codec::Opus => opus_duration(first, frame),
        // 64 kbit/s: a byte a tick, of G.711 because it is a sample, of G.722 because its clock says 8 kHz
        Codec::G722 | Codec::Pcma | Codec::Pcmu => Ok(frame.len() as u32),
        Codec::L16 if frame.len() % 2 == 0 => Ok((frame.len() / 2) as u32),
        Codec::L16 => Err(PayloadError::Truncated),
        Codec::H264 | Codec::H265 | Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::Aac => {
            Err(PayloadError::Unsupported(first))
        }
    }
}

/// The TOC byte (RFC 6716 3.1): configuration, stereo, frame count code.
fn opus_duration(toc: u8, frame: &[u8]) -> Result<u32, PayloadError> {
    let config = toc >> 3;
    let ticks = match config {
        // SILK: 10, 20, 40, 60 ms
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        // hybrid: 10, 20 ms
        12..=15 => [480, 960][usize::from(config & 1)],
        // CELT: 2.5, 5, 10, 20 ms
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(frame.get(1).ok_or(PayloadError::Truncated)? & 0x3F),
    };
    match count * ticks {
        0 => Err(PayloadError::Empty),
        total if total > MAX_OPUS_TICKS => Err(PayloadError::Unsupported(toc)),
        total => Ok(total),
    }
}

/// The packet of a frame. See `payload::Packetizer::plan`.
///
/// # Errors
/// `Empty`, `TooLarge`; nothing is appended then.
pub fn plan(unit: &Unit, out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    match unit.payload.len() {
        0 => Err(PayloadError::Empty),
        len if len > MAX_DATAGRAM_PAYLOAD => Err(PayloadError::TooLarge),
        len => {
            let mut piece = Piece::range(&[], 0, len);
            piece.last = true;
            out.push(piece);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn opus_durations_of_the_toc_table() {
        // RFC 6716 table 2: config, then code 0; ms times 48
        for (config, ticks) in
            [(0, 480), (1, 960), (3, 2880), (11, 2880), (12, 480), (13, 960), (16, 120), (19, 960), (31, 960)]
        {
            assert_eq!(duration(Codec::Opus, &[config << 3]), Ok(ticks), "config {config}");
        }
        // two frames, equal or not, then three by code 3
        assert_eq!(duration(Codec::Opus, &[1 << 3 | 1, 0]), Ok(1920));
        assert_eq!(duration(Codec::Opus, &[1 << 3 | 2, 0]), Ok(1920));
        assert_eq!(duration(Codec::Opus, &[1 << 3 | 3, 3]), Ok(2880));
        assert_eq!(duration(Codec::Opus, &[3 << 3 | 3, 3]), Err(PayloadError::Unsupported(27)));
        assert_eq!(duration(Codec::Opus, &[3]), Err(PayloadError::Truncated));
        assert_eq!(duration(Codec::Opus, &[3, 0]), Err(PayloadError::Empty));
    }

    #[test]
    fn g711_and_g722_last_a_tick_a_byte() {
        for codec in [Codec::Pcma, Codec::Pcmu, Codec::G722] {
            assert_eq!(duration(codec, &[0; 160]), Ok(160));
            assert_eq!(duration(codec, &[]), Err(PayloadError::Empty));
        }
        assert_eq!(duration(Codec::L16, &[0; 320]), Ok(160));
        assert_eq!(duration(Codec::L16, &[0; 3]), Err(PayloadError::Truncated));
    }

    #[test]
    fn loss_shows_in_the_next_frame_only() {
        let mut depacketizer = Depacketizer::new(Codec::Pcmu);
        let mut out = Vec::new();
        let input = |timestamp, gap, payload| Input { timestamp, marker: false, gap, arrival: 7, payload };
        depacketizer.push(&input(0, false, &[1; 160]), &mut out);
        depacketizer.push(&input(320, true, &[2; 160]), &mut out);
        depacketizer.push(&input(480, false, &[]), &mut out);
        depacketizer.push(&input(640, false, &[3; 160]), &mut out);
        depacketizer.push(&input(800, false, &[4; 160]), &mut out);
        let contiguous: Vec<Option<bool>> = out
            .iter()
            .map(|finished| match finished {
                Finished::Frame(frame) => Some(frame.contiguous),
                Finished::Dropped { .. } => None,
            })
            .collect();
        assert_eq!(contiguous, [Some(true), Some(false), None, Some(false), Some(true)]);
    }

    proptest! {
        #[test]
        fn every_opus_frame_lasts_2_5_to_120_ms(frame in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(ticks) = duration(Codec::Opus, &frame) {
                prop_assert!((120..=5760).contains(&ticks) && ticks % 120 == 0);
            }
        }
    }
}
