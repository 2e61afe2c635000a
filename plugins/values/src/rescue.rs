//! What did not fit a row, as the text of a JSON object.

use weir_plugin::infer::FILE_PATH;
use weir_plugin::{Error, Messages, Texts};

/// The paths of the files of a chunk, for parsers that asked for them.
#[derive(Clone, Copy, Debug)]
pub struct FilePaths<'a>(Option<Texts<'a>>);

impl<'a> FilePaths<'a> {
    /// The paths, from the message field at `place`; none if there is no place.
    ///
    /// # Errors
    /// The field is missing or no text.
    pub fn new(chunk: &'a Messages, place: Option<usize>) -> Result<Self, Error> {
        let Some(place) = place else {
            return Ok(Self(None));
        };
        let column = chunk.fields.columns.get(place);
        let column = column.ok_or_else(|| Error::new(format!("the messages have no field {FILE_PATH}")))?;
        Ok(Self(Some(column.text()?)))
    }

    /// The path of a message.
    #[must_use]
    pub fn get(&self, message: u32) -> Option<&'a [u8]> {
        self.0.and_then(|paths| paths.bytes(message as usize))
    }
}

/// Append a text, which is UTF-8, as a JSON string.
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                let [high, low] = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

/// The key under which the path of the file stands among the rescued.
pub const FILE_PATH_KEY: &[u8] = b"_file_path";

/// Append a comma unless this is the first member of an object.
pub fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

/// End the object of the rescued with the path of the file.
pub fn end(path: Option<&[u8]>, out: &mut Vec<u8>) {
    separate(out);
    quote(FILE_PATH_KEY, out);
    out.push(b':');
    match path {
        Some(path) => quote(path, out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_ends_with_the_path() {
        let mut out = b"{".to_vec();
        end(Some(b"a/\"b\".json"), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"_file_path":"a/\"b\".json"}"#);
        let mut out = br#"{"x":1"#.to_vec();
        end(None, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"x":1,"_file_path":null}"#);
    }

    proptest! {
        #[test]
        fn quoted_texts_read_back_as_they_were(text in any::<String>()) {
            let mut out = Vec::new();
            quote(text.as_bytes(), &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("a string"), text);
        }
    }
}
