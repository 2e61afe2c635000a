//! Looks whether the files of components change.
//!
//! A file counts as changed when it is another one than before and has stayed so from
//! one look to the next, because a build may still be writing it. Looking costs one
//! question to the file system, which works on any of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::request::{Ask, Swap, SwapSender};
use crate::ErrorKind;
use crate::config::{Pipeline, PluginReference};
use crate::env;
use crate::plugin::ComponentSource;

/// How often is looked.
const EVERY: Duration = Duration::from_millis(250);

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    /// Another file under the name may have the same size and age.
    identity: Option<(u64, i64, i64)>,
}

/// A file that is looked at.
struct Watched {
    step: String,
    path: PathBuf,
    /// As it was at the last look; none if it was not there.
    seen: Option<Stamp>,
    /// As it was when a swap was asked for.
    asked: Option<Stamp>,
}

/// The steps whose components are to be watched, and where these are.
pub(super) fn watched(pipeline: &Pipeline) -> Vec<(String, PathBuf)> {
    let files = pipeline.plugins().filter(|plugin| plugin.swap.watch);
    let files = files.filter_map(|plugin| match &plugin.reference {
        PluginReference::File(path) => Some((plugin.step.clone(), path.clone())),
        PluginReference::Builtin(_) | PluginReference::Bytes(..) => None,
    });
    files.collect()
}

/// Ask for a swap whenever one of these files has changed, and once at the beginning:
/// it may have changed since it was read.
pub(super) async fn watch_components(sender: SwapSender, files: Vec<(String, PathBuf)>) {
    let file = |(step, path)| Watched { step, path, seen: None, asked: None };
    let mut files: Vec<Watched> = files.into_iter().map(file).collect();
    while !files.is_empty() {
        for file in &mut files {
            let path = file.path.clone();
            let now = env::blocking(move || Ok(stamp(&path))).await.ok().flatten();
            let is_settled = now.is_some() && now == file.seen;
            file.seen = now;
            if !is_settled || now == file.asked {
                continue;
            }
            file.asked = now;
            let swap = Swap {
                step: file.step.clone(),
                component: ComponentSource::File(file.path.clone()),
                sha256: None,
                shadow: None,
                probation: None,
                is_named: true,
            };
            // What else comes of it is told by the run.
            if let Err(error) = sender.ask(Ask::Swap(swap)).await
                && error.kind() == ErrorKind::Unavailable
            {
                file.asked = None;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: file.modified().ok(), bytes: file.len(), identity: identity(&file) })
}

/// The inode and when it changed.
#[cfg(unix)]
fn identity(file: &std::fs::Metadata) -> Option<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((file.ino(), file.ctime(), file.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_file: &std::fs::Metadata) -> Option<(u64, i64, i64)> {
    None
}
