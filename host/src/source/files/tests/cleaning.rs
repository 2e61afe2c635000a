//! Files that were read are moved or deleted: when, which, and what a crash leaves.

use super::*;
use crate::env::Storage;

const RETENTION: Duration = Duration::from_secs(10);

struct Cleaned {
    env: Env,
    clock: Arc<ManualClock>,
    folder: Storage,
    archive: Storage,
    settings: FilesSettings,
}

/// A folder with the files `a` and `b`, which were there at time 0.
async fn cleaned(root: &Location, how: fn(Location) -> Clean, retention: Duration) -> Cleaned {
    // Local files must seem finished, and not be from the future.
    let clock = Arc::new(ManualClock::at(4_000_000_000_000_000));
    let env = Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Env::system() };
    let (folder, archive) = (root.join("in"), root.join("archive"));
    let clean = Some(CleanSource { how: how(archive.clone()), retention });
    let settings = FilesSettings { clean, ..FilesSettings::new(folder.clone()) };
    let (folder, archive) = (env.storage(&folder).unwrap(), env.storage(&archive).unwrap());
    for name in ["a", "x/b"] {
        folder.put(name, Bytes::from_static(b"[1]")).await.unwrap();
    }
    Cleaned { env, clock, folder, archive, settings }
}

impl Cleaned {
    fn source(&self) -> FileSource {
        made(self.settings.clone(), &self.env, CHUNKS)
    }

    fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    async fn names(&self) -> [Vec<String>; 2] {
        [self.folder.list("").await.unwrap(), self.archive.list("").await.unwrap()]
    }
}

fn delete(_archive: Location) -> Clean {
    Clean::Delete
}

/// On the local disk, and in memory.
fn places(name: &str) -> (tempfile::TempDir, [Location; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let memory = Location::parse(&format!("memory://{name}/"), FsPath::new("/")).unwrap();
    let local = local(folder.path());
    (folder, [local, memory])
}

#[tokio::test]
async fn files_go_when_their_epoch_is_committed_and_old_enough() {
    let (_folder, places) = places("goes");
    for root in places {
        for (how, archived) in [(delete as fn(Location) -> Clean, 0), (Clean::Move, 2)] {
            let root = root.join(&archived.to_string());
            let test = cleaned(&root, how, RETENTION).await;
            let mut source = test.source();
            let range = source.plan(BOUNDS).await.unwrap().unwrap();
            source.finish().await;
            source.look(None).await.unwrap();
            assert_eq!(test.names().await[0].len(), 2, "not committed");
            source.committed(Epoch::FIRST, test.now_us(), &range);
            source.finish().await;
            assert_eq!(test.names().await[0].len(), 2, "not old enough");
            test.clock.set(test.now_us() + 10_000_000);
            source.finish().await;
            let [left, moved] = test.names().await;
            assert_eq!((left.len(), moved.len()), (0, archived), "{root}");
            let incidents = source.take_incidents();
            assert_eq!((incidents.len(), incidents[0].count), (1, 2));
            assert_eq!(incidents[0].kind, IncidentKind::FileCleaned);
            assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn missed_clean_up_is_done_by_the_next_run_from_the_ledger() {
    let (_folder, places) = places("missed");
    for root in places {
        for in_segment in [true, false] {
            let test = cleaned(&root.join(&in_segment.to_string()), Clean::Move, Duration::ZERO).await;
            let mut first = test.source();
            let range = first.plan(BOUNDS).await.unwrap().unwrap();
            let range = EpochRange { epoch: Epoch::FIRST, clock_us: test.now_us(), range };
            let (segment, _) = first.segment(std::slice::from_ref(&range)).unwrap().unwrap();
            drop(first);
            // The first one had copied one file, and not deleted it yet.
            test.archive.put("a", Bytes::from_static(b"[1]")).await.unwrap();
            let (segments, ranges) = if in_segment { (vec![segment], vec![]) } else { (vec![], vec![range]) };
            let mut second = test.source();
            second.restore(&segments, &ranges).unwrap();
            assert_eq!(second.plan(BOUNDS).await.unwrap(), None);
            second.finish().await;
            let [left, moved] = test.names().await;
            assert_eq!((left, moved), (vec![], vec!["a".to_owned(), "x/b".to_owned()]), "{root}");
        }
    }
}

#[tokio::test]
async fn another_file_at_the_target_is_never_overwritten() {
    let (_folder, places) = places("taken");
    for root in places {
        let test = cleaned(&root, Clean::Move, Duration::ZERO).await;
        test.archive.put("a", Bytes::from_static(b"[2]")).await.unwrap();
        let mut source = test.source();
        let range = source.plan(BOUNDS).await.unwrap().unwrap();
        source.committed(Epoch::FIRST, test.now_us(), &range);
        source.finish().await;
        let [left, moved] = test.names().await;
        assert_eq!((left.len(), moved.len()), (0, 3), "{moved:?}");
        assert_eq!(test.archive.get("a").await.unwrap().unwrap(), "[2]");
        assert!(moved[1].starts_with("a.") && moved[1].len() == 18, "{moved:?}");
        assert_eq!(test.archive.get(&moved[1]).await.unwrap().unwrap(), "[1]");
    }
}

#[tokio::test]
async fn what_was_not_read_stays() {
    let (_folder, places) = places("stays");
    for root in places {
        let test = cleaned(&root, delete, Duration::ZERO).await;
        let mut source = test.source();
        let range = source.plan(BOUNDS).await.unwrap().unwrap();
        // Overwritten after it was read.
        test.folder.put("a", Bytes::from_static(b"[1, 2, 3]")).await.unwrap();
        source.committed(Epoch::FIRST, test.now_us(), &range);
        source.finish().await;
        assert_eq!(test.names().await[0], ["a"]);
        source.look(None).await.unwrap();
        source.finish().await;
        assert_eq!(test.names().await[0], ["a"]);
        // Passed over at the first start.
        let root = root.join("existing");
        let test = cleaned(&root, delete, Duration::ZERO).await;
        let settings = FilesSettings { existing: Existing::PassedOver, ..test.settings.clone() };
        let mut source = made(settings, &test.env, CHUNKS);
        let nothing = source.plan(BOUNDS).await.unwrap().unwrap();
        source.committed(Epoch::FIRST, test.now_us(), &nothing);
        source.look(None).await.unwrap();
        source.finish().await;
        assert_eq!(test.names().await[0].len(), 2);
    }
}

#[tokio::test]
async fn failed_clean_up_is_told_and_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let test = cleaned(&local(folder.path()), Clean::Move, Duration::ZERO).await;
    // A file where a folder should be.
    write(folder.path(), "archive/x", b"in the way");
    let mut source = test.source();
    let range = source.plan(BOUNDS).await.unwrap().unwrap();
    source.committed(Epoch::FIRST, test.now_us(), &range);
    source.finish().await;
    assert_eq!(test.names().await[0], ["x/b"]);
    let incidents: Vec<_> = source.take_incidents().into_iter().map(|of| (of.kind, of.count)).collect();
    assert_eq!(incidents, [(IncidentKind::FileCleaned, 1), (IncidentKind::CleanUpFailed, 1)]);
    assert_eq!(test.folder.store().head(&test.folder.listed_path("x/b").unwrap()).await.unwrap().size, 3);
}
