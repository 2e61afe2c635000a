//! The source of files as a whole: planning, the ledger, reading, damage.

mod cleaning;
mod options;

use std::io::Write;
use std::path::Path as FsPath;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::*;
use crate::ErrorKind;
use crate::env::{Location, ManualClock};
use crate::source::{Chunk, IncidentKind, Unreadable};

const BOUNDS: EpochBounds = EpochBounds { max_files: 1000, max_bytes: u64::MAX, max_events: u64::MAX };
const CHUNKS: ChunkBounds = ChunkBounds { chunk_bytes: 64, max_message_bytes: 200 };

/// A clock far ahead of all files, so that they count as finished.
fn later() -> Env {
    Env { clock: Arc::new(ManualClock::at(i64::MAX)), ..Env::system() }
}

fn source(folder: &Location, glob: &str, format: FileFormat, env: &Env, chunks: ChunkBounds) -> FileSource {
    let settings = FilesSettings { glob: glob.to_owned(), format, ..FilesSettings::new(folder.clone()) };
    made(settings, env, chunks)
}

fn made(settings: FilesSettings, env: &Env, chunks: ChunkBounds) -> FileSource {
    let poll_interval = Duration::from_millis(10);
    FileSource::new(FilesSettings { poll_interval, ..settings }, env, chunks).unwrap()
}

fn read_in(epoch: Epoch, range: SourceRange) -> EpochRange {
    EpochRange { epoch, clock_us: 0, range }
}

fn local(folder: &FsPath) -> Location {
    Location::Local(folder.to_path_buf())
}

fn write(folder: &FsPath, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn paths(range: &SourceRange) -> Vec<&str> {
    range.files().unwrap().iter().map(|file| file.path.as_str()).collect()
}

async fn chunks(source: &mut FileSource, range: &SourceRange, fields: &[&str]) -> Result<Vec<Chunk>> {
    let (out, mut inbox) = ChunkSender::bounded(2);
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    source.select_fields(&fields)?;
    let receive = async {
        let mut chunks = Vec::new();
        while let Some(chunk) = inbox.recv().await {
            chunks.push(chunk);
        }
        chunks
    };
    let (read, chunks) = tokio::join!(source.read(range, out), receive);
    read.map(|()| chunks)
}

/// Messages with their places, and what is unreadable.
fn contents(chunks: &[Chunk]) -> (Vec<(String, u64, String)>, Vec<Unreadable>) {
    let mut messages = Vec::new();
    let mut unreadable = Vec::new();
    for chunk in chunks {
        assert_eq!(chunk.fields.num_rows(), chunk.messages());
        assert_eq!(*chunk.offsets.last().unwrap() as usize, chunk.payload.len());
        for (message, span) in chunk.offsets.windows(2).enumerate() {
            let text = String::from_utf8_lossy(&chunk.payload[span[0] as usize..span[1] as usize]).into_owned();
            let (place, position) = chunk.place_of(message);
            messages.push((place.to_owned(), position, text));
        }
        unreadable.extend(chunk.unreadable.iter().cloned());
    }
    (messages, unreadable)
}

/// Files, their format, the messages expected, and for each unreadable part its
/// file, position, a piece of the reason, and the bytes.
async fn check(
    files: &[(&str, &[u8])],
    format: FileFormat,
    expected: &[(&str, u64, &str)],
    expected_unreadable: &[(&str, u64, &str, &str)],
) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(folder.path(), name, bytes);
    }
    let memory = Location::parse("memory://bucket/in", FsPath::new("/")).unwrap();
    let env = later();
    let storage = env.storage(&memory).unwrap();
    for (name, bytes) in files {
        // As another writer would: with the name as it is, not escaped.
        let path = Path::parse(format!("in/{name}")).unwrap();
        storage.store().put(&path, bytes.to_vec().into()).await.unwrap();
    }
    for location in [local(folder.path()), memory] {
        let mut source = source(&location, "*", format, &env, CHUNKS);
        let Some(SourceRange::Files(mut planned)) = source.plan(BOUNDS).await.unwrap() else { panic!("no files") };
        planned.sort_by(|one, other| one.path.cmp(&other.path));
        let chunks = chunks(&mut source, &SourceRange::Files(planned), &["position"]).await.unwrap();
        for chunk in &chunks {
            assert!(chunk.payload.len() <= CHUNKS.chunk_bytes || chunk.messages() == 1, "{chunk:?}");
            let positions = chunk.fields.column(0).as_primitive::<Int64Type>();
            for message in 0..chunk.messages() {
                assert_eq!(positions.value(message) as u64, chunk.place_of(message).1);
            }
        }
        let (messages, unreadable) = contents(&chunks);
        let messages: Vec<_> = messages.iter().map(|(place, at, text)| (place.as_str(), *at, text.as_str())).collect();
        assert_eq!(messages, expected, "{location}");
        assert_eq!(unreadable.len(), expected_unreadable.len(), "{unreadable:?}");
        for (got, (place, position, reason, raw)) in unreadable.iter().zip(expected_unreadable) {
            assert_eq!((got.place.as_str(), got.position), (*place, *position));
            assert!(got.reason.contains(reason), "{}", got.reason);
            assert_eq!(got.raw, raw.as_bytes());
        }
    }
}

#[tokio::test]
async fn small_files_share_a_chunk() {
    let expected = [("a", 0, "[1]"), ("a", 3, "\n[2]"), ("c", 3, "{}"), ("d/e.gz", 0, "[3]"), ("d/e.gz", 3, "[4]")];
    let zipped = [gzip(b"[3]"), gzip(b"[4]\n")].concat();
    let files: [(&str, &[u8]); 4] = [("a", b"[1]\n[2]\n"), ("b", b""), ("c", b"\xEF\xBB\xBF{}"), ("d/e.gz", &zipped)];
    check(&files, FileFormat::Json, &expected, &[]).await;
    let expected = [("a", 0, "x\n"), ("a", 2, "y"), ("b", 0, "z\n")];
    check(&[("a", b"x\ny"), ("b", b"z\n")], FileFormat::Text, &expected, &[]).await;
    let odd = "ä #%3f.json";
    check(&[(odd, b"1")], FileFormat::Binary, &[(odd, 0, "1")], &[]).await;
}

#[tokio::test]
async fn a_long_array_becomes_its_elements() {
    let elements: Vec<String> = (10..40).map(|number| format!("{{\"n\":{number}}}")).collect();
    let array = format!("[\n{}\n]\n[7]", elements.join(",\n"));
    let mut expected: Vec<(&str, u64, &str)> =
        elements.iter().zip(0_u64..).map(|(element, index)| ("a", 2 + 10 * index, element.as_str())).collect();
    expected.push(("a", array.len() as u64 - 4, "\n[7]"));
    expected.push(("b", 0, "[8]"));
    check(&[("a", array.as_bytes()), ("b", b"[8]")], FileFormat::Json, &expected, &[]).await;
}

#[tokio::test]
async fn messages_longer_than_their_bound_are_unreadable() {
    let lines = format!("a\n{}\n{}\nb\n", "x".repeat(199), "y".repeat(5000));
    let longest = format!("{}\n", "x".repeat(199));
    let cut = "y".repeat(200);
    let expected = [("f", 0, "a\n"), ("f", 2, longest.as_str()), ("f", 5203, "b\n")];
    check(&[("f", lines.as_bytes())], FileFormat::JsonLines, &expected, &[("f", 202, "of 5001 bytes", &cut)]).await;
    let array = format!("[1,\"{}\",{{\"a\":2}}]{{}}", "y".repeat(1000));
    let expected = [("f", 0, "[8]"), ("g", 1, "1"), ("g", 1006, "{\"a\":2}"), ("g", 1014, "{}")];
    let cut = format!("\"{}", "y".repeat(199));
    check(&[("f", b"[8]"), ("g", array.as_bytes())], FileFormat::Json, &expected, &[("g", 3, "1002 bytes", &cut)])
        .await;
    let spaced = format!("[{{\"a\":1}}{},2 {} ]", " ".repeat(5000), " ".repeat(9));
    let cut = format!("{{\"a\":1}}{}", " ".repeat(193));
    check(&[("f", spaced.as_bytes())], FileFormat::Json, &[("f", 5009, "2")], &[("f", 1, "5007 bytes", &cut)]).await;
    for spaces in [0, 1, 63, 64, 65, 66] {
        let text = format!("\"{}\"", "y".repeat(198));
        let array = format!("[{text}{},3]", " ".repeat(spaces));
        let three = ("f", 202 + spaces as u64, "3");
        let longer = format!("of {} bytes", 200 + spaces);
        match spaces {
            0..=64 => check(&[("f", array.as_bytes())], FileFormat::Json, &[("f", 1, &text), three], &[]).await,
            _ => check(&[("f", array.as_bytes())], FileFormat::Json, &[three], &[("f", 1, &longer, &text)]).await,
        }
    }
    let whole = "z".repeat(300);
    check(&[("f", whole.as_bytes())], FileFormat::Binary, &[], &[("f", 0, "of 300 bytes", &whole[..200])]).await;
}

#[tokio::test]
async fn damaged_gzip_delivers_what_comes_before() {
    let mut zipped = [gzip(b"one\ntwo\nthr"), gzip(b"ee\nfour\n")].concat();
    zipped.truncate(zipped.len() - 2);
    let expected =
        [("f.gz", 0, "one\n"), ("f.gz", 4, "two\n"), ("f.gz", 8, "three\n"), ("f.gz", 14, "four\n"), ("g", 0, "x")];
    let unreadable = [("f.gz", 19, "cannot be decompressed", "")];
    check(&[("f.gz", &zipped), ("g", b"x")], FileFormat::JsonLines, &expected, &unreadable).await;
    check(&[("f.gz", b"nonsense")], FileFormat::JsonLines, &[], &[("f.gz", 0, "cannot be decompressed", "")]).await;
}

#[tokio::test]
async fn zstd_is_read_frame_behind_frame_and_damage_is_told() {
    let zipped = [zstd(b"one\ntw"), zstd(b""), zstd(b"o\nthree")].concat();
    let expected = [("a.zst", 0, "one\n"), ("a.zst", 4, "two\n"), ("a.zst", 8, "three"), ("b", 0, "x")];
    let files: [(&str, &[u8]); 3] = [("a.zst", &zipped), ("b", b"x"), ("c.zst", b"")];
    check(&files, FileFormat::JsonLines, &expected, &[]).await;
    // The second frame ends within its header.
    let damaged = [&zstd(b"one\n")[..], &zstd(b"two\nthree\n")[..6]].concat();
    let unreadable = [("a.zst", 4, "cannot be decompressed", "")];
    check(&[("a.zst", &damaged)], FileFormat::JsonLines, &[("a.zst", 0, "one\n")], &unreadable).await;
    check(&[("a.zst", b"nonsense")], FileFormat::JsonLines, &[], &[("a.zst", 0, "cannot be decompressed", "")]).await;
}

#[tokio::test]
async fn changed_and_deleted_files_are_left_and_what_is_there_is_read_next() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Location::parse("memory://left/in", FsPath::new("/")).unwrap();
    for location in [local(folder.path()), memory] {
        let env = later();
        let storage = env.storage(&location).unwrap();
        let put = async |name: &str, text: &'static str| storage.put(name, Bytes::from_static(text.as_bytes())).await;
        for name in ["a", "b", "c"] {
            put(name, "[1]").await.unwrap();
        }
        let mut source = source(&location, "*", FileFormat::Json, &env, CHUNKS);
        let range = source.plan(BOUNDS).await.unwrap().unwrap();
        put("a", "[1, 2]").await.unwrap();
        storage.delete("b").await.unwrap();
        let (messages, unreadable) = contents(&chunks(&mut source, &range, &[]).await.unwrap());
        assert_eq!(messages, [("c".to_owned(), 0, "[1]".to_owned())]);
        assert_eq!(unreadable.len(), 0, "{unreadable:?}");
        assert_eq!(paths(&source.settle(range)), ["c"]);
        let incidents: Vec<_> = source.take_incidents().into_iter().map(|of| (of.kind, of.detail)).collect();
        let expected = [(IncidentKind::FileVanished, "b".to_owned()), (IncidentKind::FileChanged, "a".to_owned())];
        assert_eq!(incidents, expected);
        let next = source.plan(BOUNDS).await.unwrap().unwrap();
        let (messages, _) = contents(&chunks(&mut source, &next, &[]).await.unwrap());
        assert_eq!(messages, [("a".to_owned(), 0, "[1, 2]".to_owned())]);
        assert_eq!(paths(&source.settle(next)), ["a"]);
        assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    }
}

#[tokio::test]
async fn message_fields_tell_the_file() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x/a.json", b"[1][2]");
    let mut source = source(&local(folder.path()), "*.json", FileFormat::Json, &later(), CHUNKS);
    let range = source.plan(BOUNDS).await.unwrap().unwrap();
    let names = ["file_path", "file_name", "file_size", "file_modification_time", "position", "_metadata"];
    let chunks = chunks(&mut source, &range, &names).await.unwrap();
    let fields: &RecordBatch = &chunks[0].fields;
    assert_eq!(fields.schema(), source.message_fields());
    let text = |column: usize| fields.column(column).as_string::<i32>().value(1).to_owned();
    assert_eq!(text(0), folder.path().join("x/a.json").display().to_string());
    assert_eq!(text(1), "a.json");
    assert_eq!(fields.column(2).as_primitive::<Int64Type>().value(1), 6);
    let modified_us = range.files().unwrap()[0].modified_us;
    assert_eq!(fields.column(3).as_primitive::<TimestampMicrosecondType>().value(0), modified_us);
    assert_eq!(fields.column(4).as_primitive::<Int64Type>().value(1), 3);
    let metadata = fields.column(5).as_struct();
    for (column, name) in names[..4].iter().enumerate() {
        assert_eq!(metadata.column_by_name(name).unwrap(), fields.column(column));
    }
    let error = source.select_fields(&["offset".to_owned()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn hidden_and_foreign_files_are_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(&local(folder.path()), "*.json*", FileFormat::Json, &later(), CHUNKS);
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    for name in ["x/.a.json", "_x/a.json", "a.json.tmp", "a.json~", "a.json.part", "a.txt", "y/a_b.json"] {
        write(folder.path(), name, b"1");
    }
    assert_eq!(paths(&source.plan(BOUNDS).await.unwrap().unwrap()), ["y/a_b.json"]);
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    source.changed().await;
}

#[tokio::test]
async fn a_missing_folder_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(&local(&folder.path().join("nowhere")), "*", FileFormat::Json, &later(), CHUNKS);
    let error = source.plan(BOUNDS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("nowhere does not exist"), "{error}");
}

#[tokio::test]
async fn fresh_files_are_taken_once_they_rest() {
    let folder = tempfile::tempdir().unwrap();
    // To a clock that stands still in the past every file is fresh.
    let env = Env { clock: Arc::new(ManualClock::at(0)), ..Env::system() };
    write(folder.path(), "a", b"1");
    let mut source = source(&local(folder.path()), "*", FileFormat::Json, &env, CHUNKS);
    source.seal().await.unwrap();
    assert_eq!(paths(&source.plan(BOUNDS).await.unwrap().unwrap()), ["a"]);
}

#[tokio::test]
async fn bounds_split_the_backlog() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d"] {
        write(folder.path(), name, b"12345");
    }
    let mut source = source(&local(folder.path()), "*", FileFormat::Json, &later(), CHUNKS);
    let mut sizes = Vec::new();
    for (max_files, max_bytes) in [(1, 100), (5, 10), (5, 1), (5, 1)] {
        let range = source.plan(EpochBounds { max_files, max_bytes, ..BOUNDS }).await.unwrap();
        sizes.push(range.map_or(0, |range| paths(&range).len()));
    }
    assert_eq!(sizes, [1, 2, 1, 0]);
}

#[tokio::test]
async fn restored_source_takes_only_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write(folder.path(), name, b"1");
    }
    let location = local(folder.path());
    let mut first = source(&location, "*", FileFormat::Json, &later(), CHUNKS);
    let one = EpochBounds { max_files: 1, ..BOUNDS };
    let zero = read_in(Epoch::FIRST, first.plan(one).await.unwrap().unwrap());
    let next = read_in(Epoch::FIRST.next(), first.plan(one).await.unwrap().unwrap());
    let (segment, entries) = first.segment(std::slice::from_ref(&zero)).unwrap().unwrap();
    assert_eq!(entries, 1);
    assert_eq!(first.segment(&[]).unwrap(), None);
    let mut second = source(&location, "*", FileFormat::Json, &later(), CHUNKS);
    second.restore(&[segment], std::slice::from_ref(&next)).unwrap();
    let left = second.plan(BOUNDS).await.unwrap().unwrap();
    assert_eq!([paths(&zero.range), paths(&next.range), paths(&left)].concat().len(), 3);
    second.restore(&[], &[]).unwrap();
    assert_eq!(paths(&second.plan(BOUNDS).await.unwrap().unwrap()).len(), 3);
    let foreign = read_in(Epoch::FIRST, SourceRange::Offsets(std::collections::BTreeMap::new()));
    assert_eq!(second.restore(&[], &[foreign]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn sealed_source_takes_nothing_newer() {
    for max_files in [1, 100] {
        let env = later();
        let memory = Location::parse("memory://sealed/in", FsPath::new("/")).unwrap();
        let storage = env.storage(&memory).unwrap();
        let mut source = source(&memory, "*", FileFormat::Json, &env, CHUNKS);
        source.discovery.max_files = max_files;
        for name in ["a", "b", "c"] {
            storage.put(name, Bytes::from_static(b"1")).await.unwrap();
        }
        source.seal().await.unwrap();
        storage.put("d", Bytes::from_static(b"1")).await.unwrap();
        for _ in 0..2 {
            let mut taken = Vec::new();
            while let Some(range) = source.plan(BOUNDS).await.unwrap() {
                taken.extend(paths(&range).into_iter().map(str::to_owned));
            }
            assert_eq!(taken, ["a", "b", "c"]);
            source.restore(&[], &[]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_files_are_planned() {
    let env = later();
    let memory = Location::parse("memory://many/in", FsPath::new("/")).unwrap();
    let storage = env.storage(&memory).unwrap();
    const FILES: usize = 100_500;
    for number in 0..FILES {
        storage.put(&format!("{number}.json"), Bytes::from_static(b"[1]")).await.unwrap();
    }
    let mut source = source(&memory, "*.json", FileFormat::Json, &env, CHUNKS);
    source.seal().await.unwrap();
    let mut planned = 0;
    while let Some(range) = source.plan(BOUNDS).await.unwrap() {
        planned += paths(&range).len();
    }
    assert_eq!((planned, source.ledger.len()), (FILES, FILES));
}
