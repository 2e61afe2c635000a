//! Text and bytes inside JSON strings.

/// Append what the inside of a string stands for. The escape sequences are
/// known to be well-formed; what may be wrong is a lone surrogate, which stands
/// for no character: then false, and what was appended is to be discarded.
pub(crate) fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> bool {
    loop {
        let plain = text.iter().position(|byte| *byte == b'\\').unwrap_or(text.len());
        out.extend_from_slice(&text[..plain]);
        let [b'\\', kind, rest @ ..] = &text[plain..] else {
            return true;
        };
        text = rest;
        out.push(match kind {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some(character) = unicode(&mut text) else {
                    return false;
                };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => *other,
        });
    }
}

/// The character of the four digits behind `\u`, joined with a second sequence
/// where they are the first half of a pair.
fn unicode(text: &mut &[u8]) -> Option<char> {
    let first = hex(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    let mut rest = text.strip_prefix(b"\\u")?;
    let second = hex(&mut rest)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    *text = rest;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
}

fn hex(text: &mut &[u8]) -> Option<u32> {
    let (digits, rest) = text.split_at_checked(4)?;
    *text = rest;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// Append the bytes that `text` stands for in base 64 (RFC 4648, standard
/// alphabet, padding optional); false if it is none.
pub(crate) fn base64(text: &[u8], out: &mut Vec<u8>) -> bool {
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
pub(crate) fn shortened(bytes: &[u8]) -> String {
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
    fn escapes_become_what_they_stand_for() {
        let check = |text: &str, expected: Option<&str>| {
            let mut out = Vec::new();
            let found = unescape(text.as_bytes(), &mut out).then(|| String::from_utf8(out).expect("UTF-8"));
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check(r"plain", Some("plain"));
        check(r#"\"\\\/\b\f\n\r\t"#, Some("\"\\/\u{8}\u{c}\n\r\t"));
        check(r"\u00e9\u20AC-\ud83d\ude00!", Some("é€-😀!"));
        check(r"\u0000", Some("\0"));
        check(r"\ud83d", None);
        check(r"\ud83dx", None);
        check(r"\ud83d\u0041", None);
        check(r"\ude00", None);
    }

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
