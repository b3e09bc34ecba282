//! Length-checked reading and writing of the primitives all structures are made of.
//!
//! Integers are little endian. A varint is LEB128 of a `u64` (or `u128`) in its shortest form; a longer
//! form is damage, so that every value has exactly one encoding.

use crate::error::{FormatError, FormatResult};

/// Reads primitives from a slice and never beyond it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, a `what` (used in errors).
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Reader { bytes, what }
    }

    /// An error about the thing being read.
    pub fn error(&self, why: &'static str) -> FormatError {
        FormatError::corrupt(self.what, why)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> FormatResult<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or_else(|| self.error("it ends too early"))?;
        self.bytes = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> FormatResult<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take returned N bytes"))
    }

    /// One byte.
    pub fn u8(&mut self) -> FormatResult<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A 16-bit integer.
    pub fn u16(&mut self) -> FormatResult<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 32-bit integer.
    pub fn u32(&mut self) -> FormatResult<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A 64-bit integer.
    pub fn u64(&mut self) -> FormatResult<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint.
    #[inline]
    pub fn varint(&mut self) -> FormatResult<u64> {
        if let [first, tail @ ..] = self.bytes
            && *first < 0x80
        {
            self.bytes = tail;
            return Ok(*first as u64);
        }
        let wide = self.varint_wide()?;
        u64::try_from(wide).map_err(|_| self.error("a number is too large"))
    }

    /// A varint of up to 128 bits.
    pub fn varint_wide(&mut self) -> FormatResult<u128> {
        let mut value = 0u128;
        for shift in (0..=126).step_by(7) {
            let byte = self.u8()?;
            let bits = (byte & 0x7f) as u128;
            if shift == 126 && bits > 3 {
                return Err(self.error("a number is too large"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("a number is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.error("a number is too long"))
    }

    /// A varint that must not exceed `max`.
    pub fn varint_max(&mut self, max: u64) -> FormatResult<u64> {
        let value = self.varint()?;
        if value > max {
            return Err(self.error("a number exceeds its limit"));
        }
        Ok(value)
    }

    /// A count of things that each take at least `each_bytes_min`: bounded by `max` and by what is left.
    pub fn count(&mut self, max: usize, each_bytes_min: usize) -> FormatResult<usize> {
        let n = self.varint_max(max as u64)? as usize;
        if n.saturating_mul(each_bytes_min) > self.remaining() {
            return Err(self.error("a count exceeds what follows"));
        }
        Ok(n)
    }

    /// A zigzag-coded signed varint.
    pub fn signed(&mut self) -> FormatResult<i64> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// A zigzag-coded signed varint of up to 128 bits.
    pub fn signed_wide(&mut self) -> FormatResult<i128> {
        let v = self.varint_wide()?;
        Ok((v >> 1) as i128 ^ -((v & 1) as i128))
    }

    /// A length of at most `max`, then that many bytes.
    pub fn bytes(&mut self, max: usize) -> FormatResult<&'a [u8]> {
        let n = self.varint_max(max as u64)? as usize;
        self.take(n)
    }

    /// Like [`Reader::bytes`], as text.
    pub fn text(&mut self, max: usize) -> FormatResult<&'a str> {
        let bytes = self.bytes(max)?;
        std::str::from_utf8(bytes).map_err(|_| self.error("a text is not UTF-8"))
    }

    /// A length, then a reader over that many bytes.
    pub fn section(&mut self) -> FormatResult<Reader<'a>> {
        let n = self.varint_max(self.remaining() as u64)? as usize;
        Ok(Reader { bytes: self.take(n)?, what: self.what })
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Fails unless everything was read.
    pub fn end(&self) -> FormatResult<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.error("bytes follow its end")) }
    }
}

/// Appends primitives to a byte vector.
pub trait Write {
    /// Appends a varint.
    fn put_varint(&mut self, value: u64);
    /// Appends a varint of up to 128 bits.
    fn put_varint_wide(&mut self, value: u128);
    /// Appends a zigzag-coded signed varint.
    fn put_signed(&mut self, value: i64);
    /// Appends a zigzag-coded signed varint of up to 128 bits.
    fn put_signed_wide(&mut self, value: i128);
    /// Appends a length and the bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Write for Vec<u8> {
    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_varint_wide(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_signed(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)) as u64);
    }

    fn put_signed_wide(&mut self, value: i128) {
        self.put_varint_wide(((value << 1) ^ (value >> 127)) as u128);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(a: u64, b: i64, c: u128, d: i128) {
            let mut out = Vec::new();
            out.put_varint(a);
            out.put_signed(b);
            out.put_varint_wide(c);
            out.put_signed_wide(d);
            let mut r = Reader::new(&out, "test");
            prop_assert_eq!(r.varint().unwrap(), a);
            prop_assert_eq!(r.signed().unwrap(), b);
            prop_assert_eq!(r.varint_wide().unwrap(), c);
            prop_assert_eq!(r.signed_wide().unwrap(), d);
            r.end().unwrap();
        }

        #[test]
        fn a_number_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let mut r = Reader::new(&bytes, "test");
            if let Ok(v) = r.varint_wide() {
                let mut again = Vec::new();
                again.put_varint_wide(v);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - r.remaining()]);
            }
        }
    }

    #[test]
    fn a_count_larger_than_the_rest_is_refused() {
        let mut out = Vec::new();
        out.put_varint(1_000_000);
        assert!(Reader::new(&out, "test").count(usize::MAX, 1).is_err());
    }
}
