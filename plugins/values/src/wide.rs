//! Sixteen bytes at a time: the only place that knows of SIMD.
//!
//! WebAssembly uses `simd128`; everything else uses arithmetic on 64-bit words,
//! so that the same algorithm runs in native tests and benchmarks.

use core::mem::MaybeUninit;

/// The bytes that one step looks at.
pub const BLOCK: usize = 16;

/// The index of the first byte that a string scanner must look at: a quote, a
/// backslash, a control character or a byte that is not ASCII. [`BLOCK`] if
/// there is none.
#[must_use]
#[inline]
pub fn first_string_stop(block: &[u8; BLOCK]) -> usize {
    imp::first_string_stop(block)
}

/// The index of the first byte that is not JSON's white space; [`BLOCK`] if all
/// of them are.
#[must_use]
#[inline]
pub fn first_non_space(block: &[u8; BLOCK]) -> usize {
    imp::first_non_space(block)
}

/// The index of the first byte that is one of `wanted`; [`BLOCK`] if there is
/// none.
#[must_use]
#[inline]
pub fn first_of(block: &[u8; BLOCK], wanted: [u8; 3]) -> usize {
    imp::first_of(block, wanted)
}

/// The index of the first byte that is not a digit, and behind it of the next;
/// [`BLOCK`] if there is none.
#[must_use]
#[inline]
pub fn non_digits(block: &[u8; BLOCK]) -> (usize, usize) {
    let found = imp::non_digits(block) | 1 << BLOCK;
    let behind = (found & (found - 1)) | 1 << BLOCK;
    (found.trailing_zeros() as usize, behind.trailing_zeros() as usize)
}

/// The number that the digits before `end` make when the byte at `dot` is left
/// out; -1 leaves out none. Everything else before `end` must be a digit, and
/// `end` at most 15.
#[must_use]
#[inline]
pub fn decimal(block: &[u8; BLOCK], dot: i8, end: usize) -> u64 {
    let [high, low] = imp::gather_digits(block, dot, end);
    eight_digits(high) * 100_000_000 + eight_digits(low)
}

/// The number of eight digits, one a byte, the first in the lowest byte: pairs
/// are joined, then pairs of pairs. Only the low four bits of a byte count, so
/// that text will do, and a zero byte is a zero.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = (digits & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

/// Append `source[start..end]`. Short ranges are copied in whole blocks, which
/// run over the end and are cut: a copy of variable length is a call into the
/// runtime, and texts are mostly shorter than what that costs.
#[inline(always)]
pub fn append(out: &mut Vec<u8>, source: &[u8], start: usize, end: usize) {
    const SHORT: usize = 4 * BLOCK;
    let length = end - start;
    let whole = length.next_multiple_of(BLOCK);
    match source.get(start..start + whole) {
        Some(blocks) if whole <= SHORT => {
            out.reserve(SHORT);
            let room = &mut out.spare_capacity_mut()[..whole];
            for (to, from) in room.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks.as_chunks::<BLOCK>().0) {
                *to = from.map(MaybeUninit::new);
            }
            // SAFETY: `length` bytes behind the old end were just written, as `length <= whole`.
            unsafe { out.set_len(out.len() + length) };
        }
        _ => out.extend_from_slice(&source[start..end]),
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod imp {
    use core::arch::wasm32::{
        i8x16, i8x16_add, i8x16_gt, i8x16_lt, i8x16_splat, i8x16_swizzle, u8x16_bitmask, u8x16_eq, u8x16_gt,
        u8x16_splat, u8x16_sub, u64x2_extract_lane, v128, v128_load, v128_not, v128_or,
    };

    use super::BLOCK;

    #[inline]
    pub(super) fn first_string_stop(block: &[u8; BLOCK]) -> usize {
        let bytes = load(block);
        // Signed, everything from 0x80 on is below the space too.
        let odd = i8x16_lt(bytes, i8x16_splat(0x20));
        let quote = u8x16_eq(bytes, u8x16_splat(b'"'));
        let backslash = u8x16_eq(bytes, u8x16_splat(b'\\'));
        first(v128_or(odd, v128_or(quote, backslash)))
    }

    #[inline]
    pub(super) fn first_non_space(block: &[u8; BLOCK]) -> usize {
        let bytes = load(block);
        let blank = v128_or(u8x16_eq(bytes, u8x16_splat(b' ')), u8x16_eq(bytes, u8x16_splat(b'\n')));
        let other = v128_or(u8x16_eq(bytes, u8x16_splat(b'\r')), u8x16_eq(bytes, u8x16_splat(b'\t')));
        first(v128_not(v128_or(blank, other)))
    }

    #[inline]
    pub(super) fn first_of(block: &[u8; BLOCK], wanted: [u8; 3]) -> usize {
        let bytes = load(block);
        let [a, b, c] = wanted.map(|byte| u8x16_eq(bytes, u8x16_splat(byte)));
        first(v128_or(a, v128_or(b, c)))
    }

    /// One bit for each byte that is no digit.
    #[inline]
    pub(super) fn non_digits(block: &[u8; BLOCK]) -> u32 {
        let digits = u8x16_sub(load(block), u8x16_splat(b'0'));
        u32::from(u8x16_bitmask(u8x16_gt(digits, u8x16_splat(9))))
    }

    /// The digits before `end` without the byte at `dot`, moved to the end and
    /// filled up with zero bytes in front.
    #[inline]
    pub(super) fn gather_digits(block: &[u8; BLOCK], dot: i8, end: usize) -> [u64; 2] {
        let digits = u8x16_sub(load(block), u8x16_splat(b'0'));
        let lanes = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let from = i8x16_add(lanes, i8x16_splat(end as i8 - BLOCK as i8));
        // All ones is -1: what stands before the dot comes from one place further down.
        let from = i8x16_add(from, v128_not(i8x16_gt(from, i8x16_splat(dot))));
        // A lane from below 0 is 0.
        let gathered = i8x16_swizzle(digits, from);
        [u64x2_extract_lane::<0>(gathered), u64x2_extract_lane::<1>(gathered)]
    }

    #[inline]
    fn load(block: &[u8; BLOCK]) -> v128 {
        // SAFETY: the reference is valid for 16 bytes and the load needs no alignment.
        unsafe { v128_load(block.as_ptr().cast()) }
    }

    #[inline]
    fn first(found: v128) -> usize {
        (u32::from(u8x16_bitmask(found)) | 1 << BLOCK).trailing_zeros() as usize
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod imp {
    use super::BLOCK;

    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;

    #[inline]
    pub(super) fn first_string_stop(block: &[u8; BLOCK]) -> usize {
        first(block, |word| {
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            control | zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64)) | (word & HIGHS)
        })
    }

    #[inline]
    pub(super) fn first_non_space(block: &[u8; BLOCK]) -> usize {
        block.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(BLOCK)
    }

    #[inline]
    pub(super) fn first_of(block: &[u8; BLOCK], wanted: [u8; 3]) -> usize {
        let [a, b, c] = wanted.map(|byte| ONES * u64::from(byte));
        first(block, |word| zeros(word ^ a) | zeros(word ^ b) | zeros(word ^ c))
    }

    #[inline]
    pub(super) fn non_digits(block: &[u8; BLOCK]) -> u32 {
        block.iter().enumerate().fold(0, |found, (lane, byte)| found | u32::from(!byte.is_ascii_digit()) << lane)
    }

    #[inline]
    pub(super) fn gather_digits(block: &[u8; BLOCK], dot: i8, end: usize) -> [u64; 2] {
        let digits = u128::from_le_bytes(*block) << (8 * (BLOCK - end));
        let dot = (BLOCK - end).wrapping_add_signed(dot.into());
        let before = (1 << (8 * dot)) - 1;
        let digits = (digits & before) << 8 | (digits & !before & !(0xff << (8 * dot)));
        [digits as u64, (digits >> 64) as u64]
    }

    /// The high bit of every zero byte. Bytes above the first zero byte may be
    /// marked wrongly, which is no harm to who looks for the first.
    #[inline]
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }

    #[inline]
    fn first(block: &[u8; BLOCK], marks: impl Fn(u64) -> u64) -> usize {
        let (low, high) = block.split_at(8);
        for (base, half) in [(0, low), (8, high)] {
            let found = marks(u64::from_le_bytes(half.try_into().expect("invariant: half a block")));
            if found != 0 {
                return base + found.trailing_zeros() as usize / 8;
            }
        }
        BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged_alike() {
        for byte in 0..=255_u8 {
            for place in 0..BLOCK {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                let stops = !matches!(byte, b' '..=0x7f) || matches!(byte, b'"' | b'\\');
                assert_eq!(first_string_stop(&block), if stops { place } else { BLOCK }, "byte {byte} at {place}");

                let mut block = [b' '; BLOCK];
                block[place] = byte;
                let space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
                assert_eq!(first_non_space(&block), if space { BLOCK } else { place }, "byte {byte} at {place}");

                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                let wanted = matches!(byte, b'\n' | b';' | 0xff);
                let found = first_of(&block, [b'\n', b';', 0xff]);
                assert_eq!(found, if wanted { place } else { BLOCK }, "byte {byte} at {place}");
            }
        }
    }

    #[test]
    fn decimals_are_read_around_their_dot() {
        for (text, expected) in [("3.14", 314), ("0.5", 5), ("1234567.8901234", 12_345_678_901_234), ("98.7", 987)] {
            for behind in [b',', b' ', b'}', b'e', 0xff] {
                let mut block = [behind; BLOCK];
                block[..text.len()].copy_from_slice(text.as_bytes());
                let dot = text.find('.').expect("a dot");
                assert_eq!(non_digits(&block).0, dot, "{text}");
                assert_eq!(non_digits(&block).1, text.len(), "{text}");
                assert_eq!(decimal(&block, dot as i8, text.len()), expected, "{text}");
                let whole: u64 = text[..dot].parse().expect("digits");
                assert_eq!(decimal(&block, -1, dot), whole, "{text}");
            }
        }
        assert_eq!(non_digits(b"0123456789012345"), (BLOCK, BLOCK));
        assert_eq!(non_digits(b"01234567890123.5"), (14, BLOCK));
        assert_eq!(non_digits(b"/:34567890123456"), (0, 1));
    }

    #[test]
    fn append_copies_exactly_the_range() {
        let source: Vec<u8> = (0..200).collect();
        for (start, end) in [(0, 0), (3, 4), (5, 21), (100, 164), (190, 200), (199, 200), (0, 200)] {
            let mut out = vec![9];
            append(&mut out, &source, start, end);
            assert_eq!(out[1..], source[start..end]);
        }
    }
}
