//! Tells when a local folder has something new, so that nobody waits for the next
//! look. It may miss something and may tell of nothing: listing is what finds
//! files.
//!
//! Reading files, and whatever has a hidden name or one that is not looked for,
//! is no news, so that a pipeline does not wake itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::discovery::is_hidden;
use super::settings::FileGlob;
use crate::Result;
use crate::env::blocking;

/// A watch over a local folder.
pub(super) struct Watch {
    news: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watch a folder and all below it; none, with a warning, if the system has
    /// no watch to give.
    ///
    /// # Errors
    /// Bug if the work panics.
    pub(super) async fn over(folder: PathBuf, glob: Arc<FileGlob>) -> Result<Option<Self>> {
        blocking(move || {
            let news = Arc::new(Notify::new());
            let watcher = start(&folder, glob, Arc::clone(&news));
            let watcher = watcher.inspect_err(|error| {
                let folder = folder.display();
                tracing::warn!("{folder} cannot be watched, it is looked through from time to time: {error}");
            });
            Ok(watcher.ok().map(|watcher| Self { news, _watcher: watcher }))
        })
        .await
    }

    /// Wait for news since the last time. Cancel-safe.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

fn start(folder: &Path, glob: Arc<FileGlob>, news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let root = folder.to_path_buf();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // What went wrong may have hidden something.
        if event.map_or(true, |event| is_news(&event, &root, &glob)) {
            news.notify_one();
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn is_news(event: &Event, root: &Path, glob: &FileGlob) -> bool {
    if event.need_rescan() {
        return true;
    }
    let may_be_new = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Create(_) => true,
        EventKind::Modify(ModifyKind::Name(RenameMode::From) | ModifyKind::Metadata(_)) => false,
        EventKind::Modify(_) => true,
        EventKind::Any | EventKind::Other | EventKind::Access(_) | EventKind::Remove(_) => false,
    };
    may_be_new
        && event.paths.iter().any(|path| {
            let below = path.strip_prefix(root).ok().and_then(Path::to_str);
            // A folder that came may have files in it.
            below.is_none_or(|below| !is_hidden(below) && (glob.matches(below) || path.is_dir()))
        })
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind};

    use super::*;

    #[test]
    fn only_what_may_be_a_new_file_is_news() {
        let glob = FileGlob::parse("*.json").unwrap();
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let created = EventKind::Create(CreateKind::File);
        let gone = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let came = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let grown = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        for (kind, path, expected) in [
            (created, "a.json", true),
            (written, "x/a.json", true),
            (grown, "a.json", true),
            (came, "a.json", true),
            (gone, "a.json", false),
            (read, "a.json", false),
            (opened, "a.json", false),
            (EventKind::Remove(RemoveKind::File), "a.json", false),
            (created, "a.txt", false),
            (created, "a.json.tmp", false),
            (written, "_unnamed/a.json", false),
            (created, ".a.json", false),
        ] {
            let event = Event::new(kind).add_path(Path::new("/in").join(path));
            assert_eq!(is_news(&event, Path::new("/in"), &glob), expected, "{event:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_comes_is_news_also_in_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let glob = Arc::new(FileGlob::parse("*.json").unwrap());
        let watch = Watch::over(folder.path().to_path_buf(), glob).await.unwrap().unwrap();
        std::fs::write(folder.path().join("a.json"), "1").unwrap();
        watch.news().await;
        std::fs::create_dir(folder.path().join("x")).unwrap();
        watch.news().await;
    }
}
