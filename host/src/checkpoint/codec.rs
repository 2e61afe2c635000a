//! The form of durable records: one line that says what it is and proves that it
//! is whole, then the body as JSON for people to read.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::Digest;
use crate::{Error, Result};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    weir: String,
    version: u32,
    sha256: Digest,
}

/// A kind of durable record.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// What the record is.
    const KIND: &'static str;
    /// The version of its form.
    const VERSION: u32;
}

/// The bytes of a record.
pub(super) fn encode<R: Record>(record: &R) -> Result<Vec<u8>> {
    let failed = |error| Error::bug(format!("cannot write a record of kind {}", R::KIND)).because(error);
    let body = serde_json::to_vec_pretty(record).map_err(failed)?;
    let header = Header { weir: R::KIND.to_owned(), version: R::VERSION, sha256: Digest::of(&body) };
    let mut bytes = serde_json::to_vec(&header).map_err(failed)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The record in these bytes; `name` is the object, for messages.
///
/// # Errors
/// Corrupt if a bit has changed, something is missing, or the form is of another
/// kind or a newer version.
pub(super) fn decode<R: Record>(name: &str, bytes: &[u8]) -> Result<R> {
    let damaged = |what: &str| {
        Error::corrupt(format!(
            "the record `{name}` is damaged ({what}): restore it from a copy of the checkpoint folder"
        ))
    };
    let end = memchr::memchr(b'\n', bytes).ok_or_else(|| damaged("its first line is not complete"))?;
    let header: Header = serde_json::from_slice(&bytes[..end])
        .map_err(|error| damaged("its first line is not a header").because(error))?;
    if header.weir != R::KIND {
        return Err(damaged(&format!("it is of kind `{}`, expected `{}`", header.weir, R::KIND)));
    }
    if header.version != R::VERSION {
        let (found, known) = (header.version, R::VERSION);
        return Err(Error::corrupt(format!(
            "the record `{name}` has version {found}, this weir reads version {known}: use the weir that wrote it"
        )));
    }
    let body = &bytes[end + 1..];
    if Digest::of(body) != header.sha256 {
        return Err(damaged("its content does not have the digest that its first line names"));
    }
    serde_json::from_slice(body).map_err(|error| damaged("its content is not of its kind").because(error))
}
