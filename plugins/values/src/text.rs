//! Bytes in text, and text in messages.

/// Append the bytes that `text` stands for in base 64 (RFC 4648, standard
/// alphabet, padding optional); false if it is none.
#[must_use]
pub fn base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return false;
    }
    for group in text[..text.len() - padding].chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let Some(value) = base64_digit(*byte) else {
                return false;
            };
            bits = bits << 6 | value;
        }
        let length = match group.len() {
            4 => 3,
            // What the last character has too many must be zero, or two texts would mean the same bytes.
            3 if bits & 0b11 == 0 => 2,
            2 if bits & 0b1111 == 0 => 1,
            _ => return false,
        };
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..=length]);
    }
    true
}

fn base64_digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Bytes as people can read them in a message: at most 60, cut with an ellipsis.
#[must_use]
pub fn shortened(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    if bytes.len() <= SHOWN {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut end = SHOWN;
    while bytes[end] & 0xc0 == 0x80 && end > SHOWN - 4 {
        end -= 1;
    }
    format!("{}…", String::from_utf8_lossy(&bytes[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict() {
        let check = |text: &str, expected: Option<&[u8]>| {
            let mut out = Vec::new();
            assert_eq!(base64(text.as_bytes(), &mut out).then_some(out.as_slice()), expected, "{text}");
        };
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zg", Some(b"f"));
        check("Zm8=", Some(b"fo"));
        check("Zm9v", Some(b"foo"));
        check("Zm9vYmE=", Some(b"fooba"));
        check("+/+/", Some(&[0xfb, 0xff, 0xbf]));
        for bad in ["Z", "Zh==", "Zm9v=", "Zg=", "====", "Z===", "Zm 9", "Zm9-", "=Zm9"] {
            check(bad, None);
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(shortened(b"short"), "short");
        let long = "ä".repeat(40);
        assert_eq!(shortened(long.as_bytes()), format!("{}…", "ä".repeat(30)));
        assert_eq!(shortened(format!("x{long}").as_bytes()), format!("x{}…", "ä".repeat(29)));
    }
}
