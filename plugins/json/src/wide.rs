//! Sixteen bytes at a time: the only place that knows of SIMD.
//!
//! WebAssembly uses `simd128`; everything else uses arithmetic on 64-bit words,
//! so that the same algorithm runs in native tests and benchmarks.

/// The bytes that one step looks at.
pub(crate) const BLOCK: usize = 16;

/// The index of the first byte that a string scanner must look at: a quote, a
/// backslash, a control character or a byte that is not ASCII. [`BLOCK`] if
/// there is none.
#[inline]
pub(crate) fn first_string_stop(block: &[u8; BLOCK]) -> usize {
    imp::first_string_stop(block)
}

/// The index of the first byte that is not JSON's white space; [`BLOCK`] if all
/// of them are.
#[inline]
pub(crate) fn first_non_space(block: &[u8; BLOCK]) -> usize {
    imp::first_non_space(block)
}

/// Append `source[start..end]`. Short ranges are copied in whole blocks, which
/// run over the end and are cut: a copy of variable length is a call into the
/// runtime, and texts are mostly shorter than what that costs.
#[inline]
pub(crate) fn append(out: &mut Vec<u8>, source: &[u8], start: usize, end: usize) {
    const SHORT: usize = 4 * BLOCK;
    let length = end - start;
    if length <= SHORT && start + SHORT <= source.len() {
        let kept = out.len() + length;
        let mut at = start;
        while let (true, Some(block)) = (at < end, source[at..].first_chunk::<BLOCK>()) {
            out.extend_from_slice(block);
            at += BLOCK;
        }
        out.truncate(kept);
    } else {
        out.extend_from_slice(&source[start..end]);
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod imp {
    use core::arch::wasm32::{
        i8x16_lt, i8x16_splat, u8x16_bitmask, u8x16_eq, u8x16_splat, v128, v128_load, v128_not, v128_or,
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
            }
        }
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
