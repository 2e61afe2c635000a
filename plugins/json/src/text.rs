//! Text inside JSON strings.

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
}
