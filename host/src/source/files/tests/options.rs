//! What the settings of a source of files change.

use std::sync::Mutex;

use arrow::array::Array;

use super::*;

const HOUR: i64 = 3600 * 1_000_000;

/// All that is planned, by path.
async fn planned(source: &mut FileSource) -> Vec<String> {
    let mut planned = Vec::new();
    while let Some(range) = source.plan(BOUNDS).await.unwrap() {
        planned.extend(paths(&range).into_iter().map(str::to_owned));
    }
    planned.sort_unstable();
    planned
}

fn memory(name: &str) -> Location {
    Location::parse(&format!("memory://{name}/in"), FsPath::new("/")).unwrap()
}

async fn put(env: &Env, folder: &Location, name: &str, text: &'static str) {
    env.storage(folder).unwrap().put(name, Bytes::from_static(text.as_bytes())).await.unwrap();
}

#[tokio::test]
async fn existing_files_are_passed_over_also_after_restarts() {
    let (env, folder) = (later(), memory("existing"));
    let settings = FilesSettings { existing: Existing::PassedOver, ..FilesSettings::new(folder.clone()) };
    put(&env, &folder, "old", "1").await;
    let mut first = made(settings.clone(), &env, CHUNKS);
    first.restore(&[], &[]).unwrap();
    let nothing = first.plan(BOUNDS).await.unwrap().unwrap();
    assert_eq!(paths(&nothing), [""; 0]);
    // It dies before the epoch is prepared, and the next one is the first one again.
    put(&env, &folder, "older", "1").await;
    let mut second = made(settings.clone(), &env, CHUNKS);
    second.restore(&[], &[]).unwrap();
    second.seal().await.unwrap();
    assert!(!second.has_unrecorded());
    let nothing = second.plan(BOUNDS).await.unwrap().unwrap();
    assert!(second.has_unrecorded(), "the epoch must bring a segment");
    let ranges = [read_in(Epoch::FIRST, nothing)];
    let (segment, entries) = second.segment(&ranges).unwrap().unwrap();
    assert_eq!(entries, 2);
    second.committed(Epoch::FIRST, 0, &ranges[0].range);
    assert!(!second.has_unrecorded() && second.segment(&[]).unwrap().is_none());
    put(&env, &folder, "new", "1").await;
    assert_eq!(planned(&mut second).await, [""; 0], "the run is sealed");
    let mut third = made(settings.clone(), &env, CHUNKS);
    third.restore(std::slice::from_ref(&segment), &[]).unwrap();
    assert_eq!(planned(&mut third).await, ["new"]);
    let lines: Vec<LedgerLine> = read_segment(&segment).collect::<Result<_>>().unwrap();
    assert!(lines.iter().all(|line| line.skipped));
    // Without files there is an epoch, too: from then on it is not the first start.
    let empty = FilesSettings { folder: memory("existing-not"), ..settings };
    let mut source = made(empty, &env, CHUNKS);
    assert_eq!(source.plan(BOUNDS).await.unwrap(), Some(source.nothing()));
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
}

#[tokio::test]
async fn overwritten_file_is_read_again_if_allowed_and_warned_of_if_not() {
    for (overwrites, expected) in [(Overwrites::Read, vec!["a"]), (Overwrites::PassedOver, vec![])] {
        let folder = tempfile::tempdir().unwrap();
        let remote = memory(&format!("overwritten-{}", expected.len()));
        for folder in [local(folder.path()), remote] {
            let env = later();
            let settings = FilesSettings { overwrites, ..FilesSettings::new(folder.clone()) };
            put(&env, &folder, "a", "1").await;
            put(&env, &folder, "b", "1").await;
            let mut source = made(settings.clone(), &env, CHUNKS);
            let range = source.plan(BOUNDS).await.unwrap().unwrap();
            assert_eq!(paths(&range).len(), 2);
            put(&env, &folder, "a", "1 2").await;
            // The same after a restart.
            for _ in 0..2 {
                assert_eq!(planned(&mut source).await, expected, "{folder}");
                assert_eq!(planned(&mut source).await, [""; 0], "each version once");
                let warned = source.take_incidents();
                let kinds: Vec<_> = warned.iter().map(|of| (of.kind, of.count, of.detail.as_str())).collect();
                match overwrites {
                    Overwrites::Read => assert_eq!(kinds, []),
                    Overwrites::PassedOver => assert_eq!(kinds, [(IncidentKind::FileOverwritten, 1, "a")]),
                }
                source = made(settings.clone(), &env, CHUNKS);
                let (segment, _) = source.segment(&[read_in(Epoch::FIRST, range.clone())]).unwrap().unwrap();
                source.restore(&[segment], &[]).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn growing_file_is_left_until_it_rests() {
    let folder = tempfile::tempdir().unwrap();
    // To a clock that stands still in the past every file is fresh.
    let env = Env { clock: Arc::new(ManualClock::at(0)), ..Env::system() };
    write(folder.path(), "grows", b"1");
    write(folder.path(), "rests", b"1");
    let mut source = source(&local(folder.path()), "*", FileFormat::Json, &env, CHUNKS);
    let grow = async {
        // Grows whenever the source waits for anything, so also between its looks.
        let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join("grows")).unwrap();
        loop {
            file.write_all(b"2").unwrap();
            tokio::task::yield_now().await;
        }
    };
    let range = tokio::select! {
        range = source.plan(BOUNDS) => range.unwrap().unwrap(),
        () = grow => unreachable!("it grows for ever"),
    };
    assert_eq!(paths(&range), ["rests"]);
    assert_eq!(planned(&mut source).await, ["grows"]);
}

#[tokio::test]
async fn too_old_files_are_neither_read_nor_remembered_whatever_the_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, modified_us: i64| {
        write(folder.path(), name, b"1");
        let file = std::fs::File::options().append(true).open(folder.path().join(name)).unwrap();
        let since = Duration::from_micros(modified_us.unsigned_abs());
        file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
    };
    let clock = Arc::new(ManualClock::at(100 * HOUR));
    let env = Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Env::system() };
    let settings =
        FilesSettings { max_age: Some(Duration::from_secs(10 * 3600)), ..FilesSettings::new(local(folder.path())) };
    file("too-old", 89 * HOUR);
    file("old", 91 * HOUR);
    file("young", 99 * HOUR);
    let mut source = made(settings.clone(), &env, CHUNKS);
    let range = source.plan(BOUNDS).await.unwrap().unwrap();
    assert_eq!(paths(&range), ["old", "young"]);
    let (segment, _) = source.segment(&[read_in(Epoch::FIRST, range)]).unwrap().unwrap();

    // A little too old is remembered yet, much too old is not.
    let ledger = |source: &FileSource| (source.ledger.contains("old"), source.ledger.contains("young"));
    for (hours, expected) in [(101, (true, true)), (103, (false, true)), (111, (false, false))] {
        clock.set(hours * HOUR);
        let mut source = made(settings.clone(), &env, CHUNKS);
        source.restore(std::slice::from_ref(&segment), &[]).unwrap();
        assert_eq!(ledger(&source), expected, "at {hours}");
        assert_eq!(planned(&mut source).await, [""; 0]);
        source.dropped = None;
        source.look(None).await.unwrap();
        assert_eq!(ledger(&source), expected, "at {hours}");
        let (merged, entries) = source.merge(&[segment.clone(), segment.clone()], 4).unwrap();
        assert_eq!(entries, 2 * (u64::from(expected.0) + u64::from(expected.1)));
        // The clock is set back, or the bound is raised: nothing is read twice.
        clock.set(100 * HOUR);
        source.restore(&[merged], &[]).unwrap();
        assert_eq!(planned(&mut source).await, [""; 0]);
        let raised = FilesSettings { max_age: None, ..settings.clone() };
        let mut source = made(raised, &env, CHUNKS);
        let (merged, _) = {
            clock.set(hours * HOUR);
            made(settings.clone(), &env, CHUNKS).merge(&[segment.clone(), segment.clone()], 4).unwrap()
        };
        source.restore(&[merged], &[]).unwrap();
        let again = planned(&mut source).await;
        assert!(!again.contains(&"old".to_owned()) && !again.contains(&"young".to_owned()), "{again:?}");
    }
}

/// Stands still until it is set, both of its times.
struct HandClock {
    start: std::time::Instant,
    since: Mutex<Duration>,
}

impl Clock for HandClock {
    fn now_us(&self) -> i64 {
        i64::MAX
    }

    fn monotonic(&self) -> std::time::Instant {
        self.start + *self.since.lock().unwrap()
    }
}

#[tokio::test]
async fn incremental_listing_starts_behind_the_greatest_name_until_everything_is_due() {
    let system = Env::system();
    let clock = Arc::new(HandClock { start: system.clock.monotonic(), since: Mutex::new(Duration::ZERO) });
    let env = Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..system };
    let folder = memory("incremental");
    let backfill_interval = Some(Duration::from_secs(60));
    let settings = FilesSettings { backfill_interval, ..FilesSettings::new(folder.clone()) };
    put(&env, &folder, "x/5", "1").await;
    let mut source = made(settings.clone(), &env, CHUNKS);
    assert_eq!(planned(&mut source).await, ["x/5"]);
    for name in ["x/4", "x/6", "y"] {
        put(&env, &folder, name, "1").await;
    }
    assert_eq!(planned(&mut source).await, ["x/6", "y"], "what comes behind");
    put(&env, &folder, "x/7", "1").await;
    *clock.since.lock().unwrap() = Duration::from_secs(59);
    assert_eq!(planned(&mut source).await, [""; 0]);
    *clock.since.lock().unwrap() = Duration::from_secs(60);
    assert_eq!(planned(&mut source).await, ["x/4", "x/7"], "everything");
    put(&env, &folder, "x/8", "1").await;
    assert_eq!(planned(&mut source).await, [""; 0]);
    // A file that was left may have any name.
    source.left.note("x/1", left::Why::Vanished).unwrap();
    source.settle(SourceRange::Files(Vec::new()));
    assert_eq!(planned(&mut source).await, ["x/8"]);
    // While there is more than a look brings home, names say nothing.
    let mut few = made(settings, &env, CHUNKS);
    few.discovery.max_files = 2;
    assert_eq!(planned(&mut few).await, ["x/4", "x/5", "x/6", "x/7", "x/8", "y"]);
}

#[tokio::test]
async fn csv_has_its_header_beside_every_message() {
    let folder = tempfile::tempdir().unwrap();
    let long = "c".repeat(300);
    write(folder.path(), "a.csv", format!("n,s\r\n{}", "1,\"x\ny\"\n".repeat(20)).as_bytes());
    write(folder.path(), "b.csv.zst", &zstd(b"only"));
    write(folder.path(), "c.csv", format!("{long}\n1\n").as_bytes());
    write(folder.path(), "d.csv", b"");
    let mut source = source(&local(folder.path()), "*", FileFormat::Csv, &later(), CHUNKS);
    let Some(SourceRange::Files(mut files)) = source.plan(BOUNDS).await.unwrap() else { panic!("no files") };
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let chunks = chunks(&mut source, &SourceRange::Files(files), &["header", "file_name"]).await.unwrap();
    let (messages, unreadable) = contents(&chunks);
    let mut seen = std::collections::BTreeMap::new();
    let rows = chunks.iter().flat_map(|chunk| (0..chunk.messages()).map(move |row| (&chunk.fields, row)));
    for (fields, row) in rows {
        let header = fields.column(0).as_string::<i32>();
        let header = header.is_valid(row).then(|| header.value(row).to_owned());
        let name = fields.column(1).as_string::<i32>().value(row).to_owned();
        let (count, of) = seen.entry(name).or_insert((0, header.clone()));
        *count += 1;
        assert_eq!(*of, header);
    }
    // Blocks of up to a chunk of 64 bytes: 5 + 7 × 8 bytes, then 8 × 8 bytes.
    assert_eq!(seen["a.csv"], (3, Some("n,s".to_owned())));
    assert_eq!(seen["b.csv.zst"], (1, Some("only".to_owned())));
    assert_eq!(seen["c.csv"], (1, None), "the first record is too long for a message");
    assert_eq!(seen.len(), 3);
    let whole: String =
        messages.iter().filter(|(place, ..)| place == "a.csv").map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(whole.len(), 5 + 20 * 8);
    assert_eq!(unreadable.len(), 1);
    assert_eq!((unreadable[0].place.as_str(), unreadable[0].position), ("c.csv", 0));
    let json = FileSource::new(FilesSettings::new(local(folder.path())), &later(), CHUNKS).unwrap();
    assert!(json.message_fields().index_of("header").is_err());
}

#[tokio::test]
async fn partition_folders_are_message_fields() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "date=2025-10-05/hour=08%3A30/a.json", b"[1] [2]");
    write(folder.path(), "date=__HIVE_DEFAULT_PARTITION__/b.json", b"[3]");
    let columns = ["date", "hour"].map(str::to_owned).to_vec();
    let settings = FilesSettings { partition_columns: columns, ..FilesSettings::new(local(folder.path())) };
    let mut source = made(settings, &later(), CHUNKS);
    let Some(SourceRange::Files(mut files)) = source.plan(BOUNDS).await.unwrap() else { panic!("no files") };
    files.sort_by(|one, other| one.path.cmp(&other.path));
    assert_eq!(partition_names(files.iter().map(|file| file.path.as_str())), ["date", "hour"].into());
    let chunks = chunks(&mut source, &SourceRange::Files(files), &["hour", "date"]).await.unwrap();
    let text = |column: usize, row: usize| {
        let column = chunks[0].fields.column(column).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    assert_eq!(chunks[0].messages(), 3);
    for row in [0, 1] {
        assert_eq!((text(1, row), text(0, row)), (Some("2025-10-05".to_owned()), Some("08:30".to_owned())));
    }
    assert_eq!((text(1, 2), text(0, 2)), (None, None));
}

#[tokio::test]
async fn watched_folder_wakes_the_source_long_before_it_would_look() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        FilesSettings { poll_interval: Duration::from_secs(24 * 3600), ..FilesSettings::new(local(folder.path())) };
    let mut source = FileSource::new(settings, &later(), CHUNKS).unwrap();
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    source.changed().await;
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    write(folder.path(), "a.json", b"[1]");
    source.changed().await;
    assert_eq!(planned(&mut source).await, ["a.json"]);
}
