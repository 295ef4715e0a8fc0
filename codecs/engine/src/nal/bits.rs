//! Bits and Exp-Golomb codes (9.1) of a NAL unit, emulation prevention bytes (7.4.1) skipped on the way.

use super::NalError;

#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bits of `bytes[at]` that were read.
    bit: u8,
    /// Zero bytes just before `at`.
    zeros: u8,
}

impl<'a> Bits<'a> {
    /// `bytes`: a NAL unit without its header.
    pub(crate) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0, bit: 0, zeros: 0 }
    }

    pub(crate) fn flag(&mut self) -> Result<bool, NalError> {
        if self.bit == 0 && self.zeros >= 2 && self.bytes.get(self.at) == Some(&3) {
            self.at += 1;
            self.zeros = 0;
        }
        let byte = *self.bytes.get(self.at).ok_or(NalError::Truncated)?;
        let set = byte & (0x80 >> self.bit) != 0;
        self.bit += 1;
        if self.bit == 8 {
            self.bit = 0;
            self.at += 1;
            self.zeros = if byte == 0 { (self.zeros + 1).min(2) } else { 0 };
        }
        Ok(set)
    }

    /// `count` bits, 32 at most.
    pub(crate) fn u(&mut self, count: u32) -> Result<u32, NalError> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// ue(v)
    pub(crate) fn ue(&mut self) -> Result<u32, NalError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(NalError::Value("exp-golomb code"));
            }
        }
        Ok((1 << zeros) - 1 + self.u(zeros)?)
    }

    /// ue(v) whose value is below `limit`; `name` is the syntax element's.
    pub(crate) fn ue_below(&mut self, limit: u32, name: &'static str) -> Result<u32, NalError> {
        let value = self.ue()?;
        if value >= limit {
            return Err(NalError::Value(name));
        }
        Ok(value)
    }

    /// se(v)
    pub(crate) fn se(&mut self) -> Result<i32, NalError> {
        let code = self.ue()?;
        let half = (code / 2) as i32;
        Ok(if code % 2 == 1 { half + 1 } else { -half })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_codes_of_table_9_2() {
        // 1 010 011 00100 00101: 0 1 2 3 4
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<u32> = (0..5).map(|_| bits.ue().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<i32> = (0..5).map(|_| bits.se().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn skips_emulation_prevention() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 0xFF]);
        let bytes: Vec<u32> = std::iter::from_fn(|| bits.u(8).ok()).collect();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 0xFF]);
    }

    #[test]
    fn the_longest_code_and_one_too_long() {
        let mut longest = [0xFF; 9];
        longest[..4].copy_from_slice(&[0, 0, 3, 0]);
        longest[4] = 0x01;
        assert_eq!(Bits::new(&longest).ue(), Ok(u32::MAX - 1));
        assert_eq!(Bits::new(&[0, 0, 3, 0, 0, 3, 0, 0]).ue(), Err(NalError::Value("exp-golomb code")));
    }

    proptest! {
        #[test]
        fn ends_on_any_input(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bits = Bits::new(&bytes);
            let codes = std::iter::from_fn(|| bits.se().ok()).count();
            prop_assert!(codes <= bytes.len() * 8);
        }
    }
}
