//! `${NAME}`, `${file:PATH}` and `$$` in the strings of a pipeline file.

use std::path::{Path, PathBuf};

/// A secret file that is longer is refused.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What a pipeline file may ask of the world around it.
pub trait Surroundings {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// Why it cannot be read, without its content.
    fn secret(&self, path: &Path) -> Result<String, String>;

    /// Whether there is a file at this path.
    fn is_file(&self, path: &Path) -> bool;
}

/// The world as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSurroundings;

impl Surroundings for SystemSurroundings {
    fn variable(&self, name: &str) -> Option<String> {
        crate::env::variable(name)
    }

    fn secret(&self, path: &Path) -> Result<String, String> {
        use std::io::Read as _;
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MAX_SECRET_BYTES {
            return Err(format!("it is longer than {MAX_SECRET_BYTES} bytes"));
        }
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }
}

/// A string after interpolation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interpolated {
    /// The string to use.
    pub(super) text: String,
    /// What was put into it; never to be printed.
    pub(super) secrets: Vec<String>,
}

/// Why a string cannot be interpolated, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) remedy: String,
}

/// Put the variables and files that a string names in their place.
///
/// # Errors
/// All that is missing or misspelt in the string.
pub(super) fn interpolate(
    text: &str,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Interpolated, Vec<Refused>> {
    let mut done = Interpolated { text: String::with_capacity(text.len()), secrets: Vec::new() };
    let mut refused = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        done.text.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            done.text.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some((name, after)) = after.split_once('}') else {
                refused.push(Refused {
                    message: "`${` is never closed".to_owned(),
                    remedy: "write `${NAME}`, or `$$` for a dollar sign".to_owned(),
                });
                return Err(refused);
            };
            rest = after;
            match look_up(name, base, surroundings) {
                Ok(value) => {
                    done.text.push_str(&value);
                    done.secrets.push(value);
                }
                Err(why) => refused.push(why),
            }
        } else {
            // A dollar sign alone stands for itself.
            done.text.push('$');
        }
    }
    done.text.push_str(rest);
    if refused.is_empty() { Ok(done) } else { Err(refused) }
}

fn look_up(name: &str, base: &Path, surroundings: &dyn Surroundings) -> Result<String, Refused> {
    if let Some(path) = name.strip_prefix("file:") {
        let path: PathBuf = base.join(path);
        let secret = surroundings.secret(&path).map_err(|why| Refused {
            message: format!("cannot read the file {}: {why}", path.display()),
            remedy: "make the file readable for this process, or name another one".to_owned(),
        })?;
        // Editors and `echo` end a file with a line break that is not meant.
        let secret = secret.strip_suffix('\n').unwrap_or(&secret);
        return Ok(secret.strip_suffix('\r').unwrap_or(secret).to_owned());
    }
    let ok = |index: usize, c: char| c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit());
    if name.is_empty() || !name.chars().enumerate().all(|(index, c)| ok(index, c)) {
        return Err(Refused {
            message: format!("`${{{}}}` names no variable", name.escape_debug()),
            remedy: "write `${NAME}` for an environment variable, `${file:PATH}` for a file, `$$` for a dollar sign"
                .to_owned(),
        });
    }
    surroundings.variable(name).ok_or_else(|| Refused {
        message: format!("the environment variable {name} is not set"),
        remedy: format!("set {name}, or write `$${{{name}}}` if the text itself is meant"),
    })
}
