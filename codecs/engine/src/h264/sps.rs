//! Sequence parameter sets (7.3.2.1.1, Annex E): how large, how fast, how much reordered.

use super::{body, Bits, NalError, SPS};

/// Either side of a picture, in luma samples; level 6.2 allows 16,880.
const MAX_SIDE: u32 = 16_896;

/// A sequence parameter set, as far as anybody here needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sps {
    pub id: u8,
    pub profile_idc: u8,
    /// constraint_set0_flag is bit 7.
    pub constraint_flags: u8,
    pub level_idc: u8,
    /// Luma samples after cropping.
    pub width: u32,
    pub height: u32,
    /// Pictures that may come before one in decoding order and after it in output order; 0 promises that output
    /// order is decoding order. From the VUI, else what the standard infers, which is the worst case: above 0 says
    /// nothing about whether B-pictures come.
    pub max_reorder_frames: u8,
    /// Pictures per second as a fraction, where the VUI says so.
    pub fps: Option<(u32, u32)>,
}

impl Sps {
    /// `nal`: with its header byte, without start code. A VUI that ends early is read as far as it goes, since what
    /// matters comes before it.
    ///
    /// # Errors
    /// `WrongType`, `Truncated`, `Value`.
    pub fn parse(nal: &[u8]) -> Result<Sps, NalError> {
        let mut bits = body(nal, |kind| kind == SPS)?;
        let profile_idc = bits.u(8)? as u8;
        let constraint_flags = bits.u(8)? as u8;
        let level_idc = bits.u(8)? as u8;
        let id = bits.ue_below(32, "seq_parameter_set_id")? as u8;
        let chroma = if has_chroma_format(profile_idc) { read_chroma(&mut bits)? } else { Chroma::YUV420 };
        bits.ue_below(13, "log2_max_frame_num_minus4")?;
        let poc_type = read_poc(&mut bits)?;
        bits.ue_below(17, "max_num_ref_frames")?;
        bits.flag()?; // gaps_in_frame_num_value_allowed_flag
        let width_mbs = bits.ue_below(MAX_SIDE / 16, "pic_width_in_mbs_minus1")? + 1;
        let height_units = bits.ue_below(MAX_SIDE / 16, "pic_height_in_map_units_minus1")? + 1;
        let frame_mbs_only = bits.flag()?;
        if !frame_mbs_only {
            bits.flag()?; // mb_adaptive_frame_field_flag
        }
        let height_mbs = height_units * if frame_mbs_only { 1 } else { 2 };
        bits.flag()?; // direct_8x8_inference_flag
        let (crop_x, crop_y) = if bits.flag()? { read_crop(&mut bits, chroma, frame_mbs_only)? } else { (0, 0) };
        let cropped = |size: u32, crop: u64, name| match u64::from(size).checked_sub(crop) {
            Some(left) if left > 0 => Ok(left as u32),
            _ => Err(NalError::Value(name)),
        };
        let width = cropped(width_mbs * 16, crop_x, "frame_crop_right_offset")?;
        let height = cropped(height_mbs * 16, crop_y, "frame_crop_bottom_offset")?;
        let mut vui = Vui::default();
        if bits.flag()? {
            // a VUI that is cut off: Truncated is no reason to refuse the picture's size
            let _cut_off = vui.read(&mut bits);
        }
        let inferred = || inferred_reorder(profile_idc, constraint_flags, level_idc, poc_type, width_mbs * height_mbs);
        Ok(Sps {
            id,
            profile_idc,
            constraint_flags,
            level_idc,
            width,
            height,
            max_reorder_frames: vui.max_reorder_frames.unwrap_or_else(inferred),
            fps: vui.fps,
        })
    }
}

/// Profiles whose parameter sets have chroma_format_idc and what follows it.
fn has_chroma_format(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

/// CropUnitX, and CropUnitY of a frame (table 6-1, equations 7-19 to 7-22).
#[derive(Clone, Copy)]
struct Chroma {
    unit_x: u32,
    unit_y: u32,
}

impl Chroma {
    const YUV420: Chroma = Chroma { unit_x: 2, unit_y: 2 };
}

fn read_chroma(bits: &mut Bits<'_>) -> Result<Chroma, NalError> {
    let format = bits.ue_below(4, "chroma_format_idc")?;
    if format == 3 {
        bits.flag()?; // separate_colour_plane_flag: crops in luma samples, as 4:4:4 does anyway
    }
    bits.ue_below(7, "bit_depth_luma_minus8")?;
    bits.ue_below(7, "bit_depth_chroma_minus8")?;
    bits.flag()?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(match format {
        1 => Chroma::YUV420,
        2 => Chroma { unit_x: 2, unit_y: 1 },
        _ => Chroma { unit_x: 1, unit_y: 1 },
    })
}

/// 7.3.2.1.1.1
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Result<(), NalError> {
    let mut last = 8i32;
    let mut next = 8i32;
    for _ in 0..size {
        if next != 0 {
            let delta = bits.se()?;
            if !(-128..=127).contains(&delta) {
                return Err(NalError::Value("delta_scale"));
            }
            next = (last + delta + 256) % 256;
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

/// Picture order count type; its parameters are skipped.
fn read_poc(bits: &mut Bits<'_>) -> Result<u32, NalError> {
    let poc_type = bits.ue_below(3, "pic_order_cnt_type")?;
    match poc_type {
        0 => {
            bits.ue_below(13, "log2_max_pic_order_cnt_lsb_minus4")?;
        }
        1 => {
            bits.flag()?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.ue_below(256, "num_ref_frames_in_pic_order_cnt_cycle")? {
                bits.se()?;
            }
        }
        _ => {}
    }
    Ok(poc_type)
}

/// Luma samples cropped from width and height together.
fn read_crop(bits: &mut Bits<'_>, chroma: Chroma, frame_mbs_only: bool) -> Result<(u64, u64), NalError> {
    let mut side = |unit: u32| Ok((u64::from(bits.ue()?) + u64::from(bits.ue()?)) * u64::from(unit));
    let x = side(chroma.unit_x)?;
    let y = side(chroma.unit_y * if frame_mbs_only { 1 } else { 2 })?;
    Ok((x, y))
}

#[derive(Default)]
struct Vui {
    fps: Option<(u32, u32)>,
    max_reorder_frames: Option<u8>,
}

impl Vui {
    /// E.1.1. What was read before an error stays.
    fn read(&mut self, bits: &mut Bits<'_>) -> Result<(), NalError> {
        // aspect_ratio_info_present_flag; 255 is Extended_SAR
        if bits.flag()? && bits.u(8)? == 255 {
            bits.u(32)?;
        }
        // overscan_info_present_flag
        if bits.flag()? {
            bits.flag()?;
        }
        // video_signal_type_present_flag, then video_format, full range, and colour_description_present_flag
        if bits.flag()? && bits.u(5)? & 1 == 1 {
            bits.u(24)?;
        }
        // chroma_loc_info_present_flag
        if bits.flag()? {
            bits.ue()?;
            bits.ue()?;
        }
        if bits.flag()? {
            let num_units_in_tick = bits.u(32)?;
            let time_scale = bits.u(32)?;
            bits.flag()?; // fixed_frame_rate_flag
            if num_units_in_tick > 0 && time_scale > 0 {
                self.fps = num_units_in_tick.checked_mul(2).map(|ticks| (time_scale, ticks));
            }
        }
        let nal_hrd = bits.flag()?;
        if nal_hrd {
            skip_hrd(bits)?;
        }
        let vcl_hrd = bits.flag()?;
        if vcl_hrd {
            skip_hrd(bits)?;
        }
        if nal_hrd || vcl_hrd {
            bits.flag()?; // low_delay_hrd_flag
        }
        bits.flag()?; // pic_struct_present_flag
        if bits.flag()? {
            bits.flag()?; // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                bits.ue()?; // two denominators, two motion vector lengths
            }
            self.max_reorder_frames = Some(bits.ue_below(17, "max_num_reorder_frames")? as u8);
        }
        Ok(())
    }
}

/// E.1.2
fn skip_hrd(bits: &mut Bits<'_>) -> Result<(), NalError> {
    let count = bits.ue_below(32, "cpb_cnt_minus1")? + 1;
    bits.u(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..count {
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    bits.u(20)?;
    Ok(())
}

/// max_num_reorder_frames where the VUI doesn't say it (E.2.1). The Baseline profile (A.2.1) has no B slices, and picture
/// order count type 2 forbids any other output order (7.4.2.1.1).
fn inferred_reorder(profile_idc: u8, constraint_flags: u8, level_idc: u8, poc_type: u32, frame_mbs: u32) -> u8 {
    let intra_only = constraint_flags & 0x10 != 0 && matches!(profile_idc, 44 | 86 | 100 | 110 | 122 | 244);
    if profile_idc == 66 || poc_type == 2 || intra_only {
        return 0;
    }
    // MaxDpbMbs of table A-1
    let level_1b = level_idc == 11 && constraint_flags & 0x10 != 0;
    let max_dpb_mbs = match level_idc {
        ..=10 => 396,
        11 if level_1b => 396,
        11 => 900,
        12..=20 => 2_376,
        21 => 4_752,
        22..=30 => 8_100,
        31 => 18_000,
        32 => 20_480,
        33..=41 => 32_768,
        42 => 34_816,
        43..=50 => 110_400,
        51..=52 => 184_320,
        _ => 696_320,
    };
    (max_dpb_mbs / frame_mbs).min(16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::tests::from_hex;
    use proptest::prelude::*;

    /// x264 164, 1920x1080 (1088 coded), High 4.0, 25 fps, B-pyramid.
    const X264_1080: &str = "67640028acd940780227e5c044000003000400000300c83c60c658";

    #[test]
    fn x264_1080p_is_cropped_and_reordered() {
        let sps = Sps::parse(&from_hex(X264_1080)).unwrap();
        assert_eq!((sps.width, sps.height), (1920, 1080));
        assert_eq!((sps.profile_idc, sps.constraint_flags, sps.level_idc), (100, 0, 40));
        assert_eq!(sps.fps, Some((50, 2)));
        assert_eq!(sps.max_reorder_frames, 2);
    }

    #[test]
    fn sets_of_other_profiles_and_formats() {
        // x264 164: baseline 720p30; interlaced Main VGA at 30; High 4:2:2 642x482 with scaling lists; one with HRD
        let read =
            |hex| Sps::parse(&from_hex(hex)).map(|s| (s.profile_idc, s.width, s.height, s.max_reorder_frames, s.fps));
        let baseline = read("6742c01fd9005005bb0110000003001000000303c8f1832480");
        assert_eq!(baseline, Ok((66, 1280, 720, 0, Some((60, 2)))));
        let interlaced = read("674d401eeca0503db0110000030001000003003c1f142996");
        assert_eq!(interlaced, Ok((77, 640, 480, 2, Some((60, 2)))));
        let yuv422 = read("677a001ebcd940a43fe223f0110000030001000003003c0f162d96");
        assert_eq!(yuv422, Ok((122, 642, 482, 2, Some((60, 2)))));
        let hrd = read("6764000dacd94141fb01100000030010000003014602001e840007a1392ca01e28532c");
        assert_eq!(hrd, Ok((100, 320, 240, 2, Some((20, 2)))));
    }

    #[test]
    fn axis_camera_without_bitstream_restriction() {
        // sprop-parameter-sets=Z0IAKeKQCgDLYC3AQEBpB4kRUA== of a published SDP
        let sps = Sps::parse(&from_hex("67420029e2900a00cb602dc040406907891150")).unwrap();
        assert_eq!((sps.profile_idc, sps.constraint_flags, sps.level_idc), (66, 0, 41));
        assert_eq!((sps.width, sps.height), (1280, 800));
        assert_eq!(sps.max_reorder_frames, 0);
    }

    #[test]
    fn a_cut_off_vui_keeps_the_size() {
        let sps = Sps::parse(&from_hex(X264_1080)[..16]).unwrap();
        assert_eq!((sps.width, sps.height, sps.fps), (1920, 1080, None));
        // High 4.0 of 120x68 macroblocks: 32768 / 8160
        assert_eq!(sps.max_reorder_frames, 4);
    }

    #[test]
    fn refuses_what_is_no_sps() {
        assert_eq!(Sps::parse(&[]), Err(NalError::WrongType(0)));
        assert_eq!(Sps::parse(&[0x68, 1, 2, 3]), Err(NalError::WrongType(8)));
        assert_eq!(Sps::parse(&[0x67, 66, 0, 30]), Err(NalError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let nal: Vec<u8> = std::iter::once(0x67).chain(tail).collect();
            if let Ok(sps) = Sps::parse(&nal) {
                prop_assert!(sps.width > 0 && sps.width <= MAX_SIDE);
                prop_assert!(sps.height > 0 && sps.height <= 2 * MAX_SIDE);
                prop_assert!(sps.max_reorder_frames <= 16);
            }
        }

        #[test]
        fn damaged_sets_do_not_panic(at in 1usize..27, bit in 0u8..8, cut in 1usize..28) {
            let mut nal = from_hex(X264_1080);
            nal[at] ^= 1 << bit;
            nal.truncate(cut);
            let _either = Sps::parse(&nal);
        }
    }
}
