//! RTCP packets, appended to a buffer.

use super::{
    ReportBlock, SenderInfo, AFB, BYE, FIR, NACK, PLI, PSFB, RECEIVER_REPORT, REMB, RTPFB, SDES, SENDER_REPORT,
};

/// The count field has five bits.
const MAX_COUNT: usize = 31;
/// Items of one NACK: what a datagram takes with reports and SRTCP around it. The rest is asked for next time.
const MAX_NACK_ITEMS: usize = 256;

/// Sender report. At most 31 blocks; the rest is left out.
pub fn write_sender_report(out: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_COUNT)];
    let start = begin(out, SENDER_REPORT, blocks.len());
    word(out, ssrc);
    out.extend_from_slice(&info.ntp.to_be_bytes());
    word(out, info.timestamp);
    word(out, info.packets);
    word(out, info.octets);
    write_blocks(out, blocks);
    finish(out, start);
}

/// Receiver report. At most 31 blocks; the rest is left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_COUNT)];
    let start = begin(out, RECEIVER_REPORT, blocks.len());
    word(out, ssrc);
    write_blocks(out, blocks);
    finish(out, start);
}

fn write_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        word(out, block.ssrc);
        // cumulative loss has 24 bits, signed, and stays at its ends (RFC 3550 A.3)
        let lost = block.lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        word(out, u32::from(block.fraction_lost) << 24 | lost);
        word(out, block.highest_seq);
        word(out, block.jitter);
        word(out, block.last_sr);
        word(out, block.delay);
    }
}

/// Source description with a CNAME; one above 255 bytes is cut.
pub fn write_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let text = &cname.as_bytes()[..cname.len().min(255)];
    let start = begin(out, SDES, 1);
    word(out, ssrc);
    out.extend_from_slice(&[1, text.len() as u8]);
    out.extend_from_slice(text);
    // one zero byte ends the chunk, more fill the word (6.5)
    out.push(0);
    while (out.len() - start) % 4 != 0 {
        out.push(0);
    }
    finish(out, start);
}

/// At most 31 SSRCs; the rest is left out.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(MAX_COUNT)];
    let start = begin(out, BYE, ssrcs.len());
    ssrcs.iter().for_each(|&ssrc| word(out, ssrc));
    finish(out, start);
}

/// Generic NACK for sequence numbers in ascending order (across the wrap); up to 16 after the first share its item. What
/// needs more than 256 items is left out. Nothing is written for no number.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, seqs: &[u16]) {
    if seqs.is_empty() {
        return;
    }
    let start = begin_feedback(out, RTPFB, NACK, sender, media);
    let mut rest = seqs;
    for _ in 0..MAX_NACK_ITEMS {
        let Some((&base, after)) = rest.split_first() else { break };
        rest = after;
        let mut mask = 0u16;
        while let Some((&seq, after)) = rest.split_first() {
            let distance = seq.wrapping_sub(base);
            if distance > 16 {
                break;
            }
            // 0: the same number twice
            mask |= if distance == 0 { 0 } else { 1 << (distance - 1) };
            rest = after;
        }
        out.extend_from_slice(&base.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    }
    finish(out, start);
}

/// Picture loss indication.
pub fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    let start = begin_feedback(out, PSFB, PLI, sender, media);
    finish(out, start);
}

/// Full intra request. `entries`: (ssrc, command number), the number one more for every new request and the same when
/// one is repeated (RFC 5104 4.3.1.2).
pub fn write_fir(out: &mut Vec<u8>, sender: u32, entries: &[(u32, u8)]) {
    // the media SSRC of the header is unused and 0 (4.3.1.2)
    let start = begin_feedback(out, PSFB, FIR, sender, 0);
    for &(ssrc, number) in entries {
        word(out, ssrc);
        out.extend_from_slice(&[number, 0, 0, 0]);
    }
    finish(out, start);
}

/// Receiver estimated maximum bitrate. The mantissa has 18 bits: `bps` is rounded down. At most 255 SSRCs.
pub fn write_remb(out: &mut Vec<u8>, sender: u32, bps: u64, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    let exponent = (64 - bps.leading_zeros()).saturating_sub(18);
    let mantissa = (bps >> exponent) as u32;
    let start = begin_feedback(out, PSFB, AFB, sender, 0);
    out.extend_from_slice(REMB);
    word(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
    ssrcs.iter().for_each(|&ssrc| word(out, ssrc));
    finish(out, start);
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A header whose length `finish` fills in; gives its place.
fn begin(out: &mut Vec<u8>, pt: u8, count: usize) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count as u8, pt, 0, 0]);
    start
}

fn begin_feedback(out: &mut Vec<u8>, pt: u8, format: u8, sender: u32, media: u32) -> usize {
    let start = begin(out, pt, usize::from(format));
    word(out, sender);
    word(out, media);
    start
}

fn finish(out: &mut [u8], start: usize) {
    let words = (out.len() - start) / 4 - 1;
    out[start + 2..start + 4].copy_from_slice(&(words as u16).to_be_bytes());
}
