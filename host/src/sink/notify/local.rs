//! Alerts to a local file or the standard output, a line of JSON each.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Alert, NotSent, Notifier, RequestLimits};
use crate::{Error, env};

/// What is written, and synced, at once.
const LIMITS: RequestLimits = RequestLimits { alerts: 1000, bytes: 1 << 20 };

fn lines(alerts: &[Alert]) -> Vec<u8> {
    alerts.iter().flat_map(Alert::line).collect()
}

/// Appends to a file; what is sent survives a loss of power.
pub(super) struct FileNotifier {
    path: PathBuf,
}

impl FileNotifier {
    /// Append to this file.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

#[async_trait]
impl Notifier for FileNotifier {
    fn limits(&self) -> RequestLimits {
        LIMITS
    }

    async fn send(&self, alerts: &[Alert]) -> Result<(), NotSent> {
        let (path, lines) = (self.path.clone(), lines(alerts));
        let appended = env::blocking(move || {
            append(&path, &lines)
                .map_err(|error| Error::unavailable(format!("cannot append to {}", path.display())).because(error))
        });
        appended.await.map_err(|error| NotSent::Unavailable { error, retry_after: None })
    }
}

/// Several rules may append to one file.
static APPENDING: Mutex<()> = Mutex::new(());

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let _alone = APPENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
    }
    let is_new = !path.try_exists()?;
    if !is_new && !std::fs::metadata(path)?.is_file() {
        // To open a pipe waits for a reader, and nothing could end that wait.
        return Err(io::Error::other("it is no regular file"));
    }
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    if ends_torn(&mut file)? {
        // Whoever wrote it died, or the disk was full. What it is part of was
        // not sent and comes again.
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_all()?;
    if let (true, Some(folder)) = (is_new, folder) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Whether the last line has no end.
fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 || !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Writes to the standard output.
pub(super) struct StdoutNotifier;

#[async_trait]
impl Notifier for StdoutNotifier {
    fn limits(&self) -> RequestLimits {
        LIMITS
    }

    async fn send(&self, alerts: &[Alert]) -> Result<(), NotSent> {
        let lines = lines(alerts);
        let written = env::blocking(move || {
            let mut out = io::stdout().lock();
            out.write_all(&lines)
                .and_then(|()| out.flush())
                .map_err(|error| Error::unavailable("cannot write to the standard output").because(error))
        });
        written.await.map_err(|error| NotSent::Unavailable { error, retry_after: None })
    }
}
