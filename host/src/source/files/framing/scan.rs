//! Which bytes of a block matter to JSON's structure, as bit masks.
//!
//! Bit i of a mask stands for byte i of the block. The portable form is the
//! definition; the SSE2 form, which every x86-64 processor has, must agree.

/// Bytes looked at in one go.
pub(super) const BLOCK_BYTES: usize = 64;

/// The bytes of a block that matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// `"`
    pub(super) quote: u64,
    /// `\`
    pub(super) backslash: u64,
    /// `[` or `{`
    pub(super) open: u64,
    /// `]` or `}`
    pub(super) close: u64,
    /// A line feed.
    pub(super) line_feed: u64,
}

/// The masks of a block.
#[inline]
pub(super) fn masks(block: &[u8; BLOCK_BYTES]) -> Masks {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is part of x86-64 itself; the function reads nothing but its argument.
        unsafe { masks_sse2(block) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    masks_portable(block)
}

/// Brackets and braces differ only in this bit, and no other byte becomes a
/// brace by it.
const BRACE_BIT: u8 = 0x20;

#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) fn masks_portable(block: &[u8; BLOCK_BYTES]) -> Masks {
    let mut masks = Masks::default();
    for (index, &byte) in block.iter().enumerate() {
        let brace = byte | BRACE_BIT;
        masks.quote |= u64::from(byte == b'"') << index;
        masks.backslash |= u64::from(byte == b'\\') << index;
        masks.open |= u64::from(brace == b'{') << index;
        masks.close |= u64::from(brace == b'}') << index;
        masks.line_feed |= u64::from(byte == b'\n') << index;
    }
    masks
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn masks_sse2(block: &[u8; BLOCK_BYTES]) -> Masks {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8};
    let mut masks = Masks::default();
    let (quarters, _) = block.as_chunks::<16>();
    for (quarter, bytes) in quarters.iter().enumerate() {
        let whole = u128::from_le_bytes(*bytes);
        let vector = _mm_set_epi64x((whole >> 64) as i64, whole as i64);
        let brace = _mm_or_si128(vector, _mm_set1_epi8(BRACE_BIT as i8));
        let shift = quarter * 16;
        // The upper 16 bits of the answer are zero.
        let mask = |vector, byte: u8| {
            (_mm_movemask_epi8(_mm_cmpeq_epi8(vector, _mm_set1_epi8(byte as i8))) as u32 as u64) << shift
        };
        masks.quote |= mask(vector, b'"');
        masks.backslash |= mask(vector, b'\\');
        masks.open |= mask(brace, b'{');
        masks.close |= mask(brace, b'}');
        masks.line_feed |= mask(vector, b'\n');
    }
    masks
}

/// The bytes that a backslash before them escapes, and whether the block ends
/// in a backslash that escapes the byte behind it.
#[inline]
pub(super) fn escaped(backslash: u64, first_is_escaped: bool) -> (u64, bool) {
    let mut escaped = u64::from(first_is_escaped);
    let mut rest = backslash & !escaped;
    while rest != 0 {
        let at = rest.trailing_zeros();
        if at == 63 {
            return (escaped, true);
        }
        escaped |= 2 << at;
        // Neither this backslash nor the byte that it escapes escapes another.
        rest &= !(3 << at);
    }
    (escaped, false)
}

/// Bit i is the parity of the bits 0 to i.
#[inline]
pub(super) fn running_parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}
