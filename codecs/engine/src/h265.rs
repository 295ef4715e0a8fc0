//! What is inside H.265 NAL units (ITU-T H.265, 09/2023): parameter sets' identities, and the picture's size.
//!
//! Deliberately not read: slices (whether decoding may begin at a picture is said by who publishes it), anything of a
//! parameter set after its id or the picture's size, and layers above the base layer (multiview, scalability).

use crate::nal::{Bits, NalError};

/// NAL unit types (table 7-1).
pub const VPS: u8 = 32;
pub const SPS: u8 = 33;
pub const PPS: u8 = 34;
pub const AUD: u8 = 35;

const HEADER_BYTES: usize = 2;
/// Either side of a picture in luma samples: the root of 8 times MaxLumaPs of level 6.2 (A.4.1).
const MAX_SIDE: u32 = 16_888;

/// The type of a NAL unit (7.3.1.2); 0, which is a slice's, for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte >> 1 & 0x3F)
}

/// Type and id of a parameter set of the base layer; None for anything else and for what can't be read.
pub(crate) fn identity(nal: &[u8]) -> Option<(u8, u8)> {
    let kind = nal_type(nal);
    let id = match kind {
        VPS => body(nal, VPS).and_then(|mut bits| bits.u(4)).ok()? as u8,
        SPS => Sps::parse(nal).ok()?.id,
        PPS => body(nal, PPS).and_then(|mut bits| bits.ue_below(64, "pps_pic_parameter_set_id")).ok()? as u8,
        _ => return None,
    };
    Some((kind, id))
}

/// The beginning of a sequence parameter set (7.3.2.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sps {
    pub id: u8,
    /// 1 Main, 2 Main 10, 4 the range extensions.
    pub profile_idc: u8,
    /// 30 times the level's number.
    pub level_idc: u8,
    /// Luma samples after the conformance window.
    pub width: u32,
    pub height: u32,
}

impl Sps {
    /// `nal`: with its header, without start code.
    ///
    /// # Errors
    /// `WrongType`: also for another layer than the base layer; `Truncated`, `Value`.
    pub fn parse(nal: &[u8]) -> Result<Sps, NalError> {
        let mut bits = body(nal, SPS)?;
        bits.u(4)?; // sps_video_parameter_set_id
        let sub_layers = bits.u(3)?;
        if sub_layers > 6 {
            return Err(NalError::Value("sps_max_sub_layers_minus1"));
        }
        bits.flag()?; // sps_temporal_id_nesting_flag
        let (profile_idc, level_idc) = read_profile_tier_level(&mut bits, sub_layers)?;
        let id = bits.ue_below(16, "sps_seq_parameter_set_id")? as u8;
        let (unit_x, unit_y) = read_chroma(&mut bits)?;
        let width = bits.ue_below(MAX_SIDE + 1, "pic_width_in_luma_samples")?;
        let height = bits.ue_below(MAX_SIDE + 1, "pic_height_in_luma_samples")?;
        // conformance_window_flag, then left, right, top, bottom
        let (crop_x, crop_y) =
            if bits.flag()? { (read_crop(&mut bits, unit_x)?, read_crop(&mut bits, unit_y)?) } else { (0, 0) };
        let cropped = |size: u32, crop: u64, name| match u64::from(size).checked_sub(crop) {
            Some(left) if left > 0 => Ok(left as u32),
            _ => Err(NalError::Value(name)),
        };
        Ok(Sps {
            id,
            profile_idc,
            level_idc,
            width: cropped(width, crop_x, "conf_win_right_offset")?,
            height: cropped(height, crop_y, "conf_win_bottom_offset")?,
        })
    }
}

/// 7.3.3 with profilePresentFlag 1: general_profile_idc and general_level_idc; what sub-layers say is skipped.
fn read_profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(u8, u8), NalError> {
    bits.u(3)?; // general_profile_space, general_tier_flag
    let profile_idc = bits.u(5)? as u8;
    bits.u(32)?; // general_profile_compatibility_flag
    skip(bits, 48)?; // source and constraint flags
    let level_idc = bits.u(8)? as u8;
    let mut present = Vec::with_capacity(6);
    for _ in 0..sub_layers {
        // sub_layer_profile_present_flag, sub_layer_level_present_flag
        present.push((bits.flag()?, bits.flag()?));
    }
    if sub_layers > 0 {
        skip(bits, 2 * (8 - sub_layers))?; // reserved_zero_2bits
    }
    for (profile, level) in present {
        skip(bits, if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Ok((profile_idc, level_idc))
}

/// SubWidthC and SubHeightC (table 6-1).
fn read_chroma(bits: &mut Bits<'_>) -> Result<(u32, u32), NalError> {
    Ok(match bits.ue_below(4, "chroma_format_idc")? {
        1 => (2, 2),
        2 => (2, 1),
        3 => {
            bits.flag()?; // separate_colour_plane_flag: each plane is cropped as monochrome is
            (1, 1)
        }
        _ => (1, 1),
    })
}

/// Luma samples that the conformance window leaves out on two sides together.
fn read_crop(bits: &mut Bits<'_>, unit: u32) -> Result<u64, NalError> {
    Ok((u64::from(bits.ue()?) + u64::from(bits.ue()?)) * u64::from(unit))
}

fn skip(bits: &mut Bits<'_>, count: u32) -> Result<(), NalError> {
    for _ in 0..count {
        bits.flag()?;
    }
    Ok(())
}

/// The RBSP of a NAL unit of this type in the base layer.
fn body(nal: &[u8], wanted: u8) -> Result<Bits<'_>, NalError> {
    let kind = nal_type(nal);
    if nal.len() < HEADER_BYTES {
        return Err(NalError::Truncated);
    }
    // nuh_layer_id: the last bit of the first byte and five of the second
    if kind != wanted || nal[0] & 1 != 0 || nal[1] >> 3 != 0 {
        return Err(NalError::WrongType(kind));
    }
    Ok(Bits::new(&nal[HEADER_BYTES..]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::h264::tests::from_hex;
    use proptest::prelude::*;

    // x265 3.5, 1920x1080, Main
    pub(crate) const VPS_HEX: &str = "40010c01ffff016000000300900000030000030078959409";
    pub(crate) const SPS_1080: &str =
        "420101016000000300900000030000030078a003c0801107cb965654a4c2f0168080000003008000000c84";
    pub(crate) const PPS_HEX: &str = "4401c073c189";
    pub(crate) const IDR_HEX: &str = "2801ac74110b2ee488830ec2";

    fn read(hex: &str) -> Result<(u8, u8, u32, u32), NalError> {
        Sps::parse(&from_hex(hex)).map(|sps| (sps.profile_idc, sps.level_idc, sps.width, sps.height))
    }

    #[test]
    fn sizes_that_x265_wrote() {
        assert_eq!(read(SPS_1080), Ok((1, 120, 1920, 1080)));
        // 4:2:2 10 bit; 4:2:0 with a window of 2 and 0; 4:4:4
        let yuv422 = read("4201010408000003009d0800000300005ab0052201f1c447b6595952930bc05a020000030002000003003c10");
        assert_eq!(yuv422, Ok((4, 90, 642, 482)));
        let odd = read("420101016000000300900000030000030078a002b080301cde595952930bc05a020000030002000003003210");
        assert_eq!(odd, Ok((1, 120, 1366, 768)));
        let yuv444 = read("4201010408000003009e0800000300003c9001510080e3e3f2caca94985e02d0100000030010000003019080");
        assert_eq!(yuv444, Ok((4, 60, 322, 242)));
    }

    #[test]
    fn sub_layers_are_skipped() {
        // two temporal sub-layers, the lower with a profile and a level: bits put together as 7.3.3 orders them
        let mut bits = String::from("0000" /* vps id */) + "001" + "1";
        bits += &("00000001".to_owned() + &"0".repeat(32 + 48) + "01111000");
        bits += &("11".to_owned() + &"0".repeat(14) + &"0".repeat(88) + "01011010");
        // sps id 2, 4:2:0, 640 x 360, a window that takes 2 x 2 columns and 2 x 1 rows
        bits += &("011".to_owned() + "010" + &ue(640) + &ue(360) + "1" + &ue(0) + &ue(2) + &ue(1) + &ue(0));
        bits += &"0".repeat(8 - bits.len() % 8);
        let raw = (0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2).unwrap());
        let mut nal = vec![0x42, 0x01];
        let mut zeros = 0;
        for byte in raw {
            if zeros == 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        let sps = Sps::parse(&nal);
        assert_eq!(sps, Ok(Sps { id: 2, profile_idc: 1, level_idc: 120, width: 636, height: 358 }));
    }

    fn ue(value: u32) -> String {
        let code = format!("{:b}", value + 1);
        "0".repeat(code.len() - 1) + &code
    }

    #[test]
    fn identities_are_of_the_base_layer() {
        assert_eq!(
            [VPS_HEX, SPS_1080, PPS_HEX, IDR_HEX].map(|hex| identity(&from_hex(hex))),
            [Some((VPS, 0)), Some((SPS, 0)), Some((PPS, 0)), None]
        );
        assert_eq!(nal_type(&from_hex(IDR_HEX)), 20);
        let mut above = from_hex(SPS_1080);
        above[1] |= 8;
        assert_eq!((Sps::parse(&above), identity(&above)), (Err(NalError::WrongType(SPS)), None));
    }

    #[test]
    fn refuses_what_is_no_sps() {
        assert_eq!(Sps::parse(&[]), Err(NalError::Truncated));
        assert_eq!(Sps::parse(&from_hex(PPS_HEX)), Err(NalError::WrongType(PPS)));
        assert_eq!(Sps::parse(&from_hex(SPS_1080)[..20]), Err(NalError::Truncated));
        assert_eq!(Sps::parse(&[0x42, 0x01, 0x0F]), Err(NalError::Value("sps_max_sub_layers_minus1")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let nal: Vec<u8> = [0x42, 0x01].into_iter().chain(tail).collect();
            if let Ok(sps) = Sps::parse(&nal) {
                prop_assert!((1..=MAX_SIDE).contains(&sps.width) && (1..=MAX_SIDE).contains(&sps.height));
            }
        }

        #[test]
        fn damaged_sets_do_not_panic(at in 0usize..43, bit in 0u8..8, cut in 0usize..44) {
            let mut nal = from_hex(SPS_1080);
            nal[at] ^= 1 << bit;
            nal.truncate(cut);
            if let Ok(sps) = Sps::parse(&nal) {
                prop_assert!(sps.width <= MAX_SIDE && sps.height <= MAX_SIDE && sps.id < 16);
            }
        }
    }
}
