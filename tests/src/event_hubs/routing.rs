//! To which partition a message with a partition key goes.
//!
//! The hash is Bob Jenkins' lookup3, of which Event Hubs takes the lower 16 bits
//! of both words, so that a key has its partition here as it has it there.

/// The partition of a key.
pub(super) fn partition_of(key: &str, partitions: usize) -> usize {
    let (first, second) = lookup3(key.as_bytes());
    let hash = (first ^ second) as i16;
    i64::from(hash).rem_euclid(partitions as i64) as usize
}

fn lookup3(key: &[u8]) -> (u32, u32) {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = key;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        rest = after;
        a = a.wrapping_add(word(&block[..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..]));
        for (rotation, turn) in [(4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)] {
            let (x, y, z) = match turn {
                0 => (&mut a, &mut c, b),
                1 => (&mut b, &mut a, c),
                _ => (&mut c, &mut b, a),
            };
            *x = x.wrapping_sub(*y) ^ y.rotate_left(rotation);
            *y = y.wrapping_add(z);
        }
    }
    if rest.is_empty() {
        return (c, b);
    }
    let mut last = [0u8; 12];
    last[..rest.len()].copy_from_slice(rest);
    a = a.wrapping_add(word(&last[..4]));
    b = b.wrapping_add(word(&last[4..8]));
    c = c.wrapping_add(word(&last[8..]));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (c, b)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_the_official_client_sends_them() {
        // Taken from the partition resolver of the Python client, version 5.15.1.
        for (key, of_four, of_32) in EXPECTED {
            assert_eq!((partition_of(key, 4), partition_of(key, 32)), (*of_four, *of_32), "{key}");
        }
    }

    const EXPECTED: &[(&str, usize, usize)] = &[
        ("a", 0, 4),
        ("sensor-001", 3, 31),
        ("sensor-0012", 1, 25),
        ("sensor-00123", 1, 13),
        ("sensor-001234", 0, 12),
        ("the quick brown fox", 0, 0),
        ("the quick brown fox jumps over", 2, 22),
        ("xxxxxxxxxxxxxxxxxxxxxxxx", 3, 3),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0, 24),
        ("k1", 0, 8),
        ("k22", 2, 6),
        ("k333", 2, 26),
    ];
}
