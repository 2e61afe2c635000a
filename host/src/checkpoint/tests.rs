//! The form of durable records: what is written today must be read for ever.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::codec::{decode, encode};
use super::*;
use crate::env::{Env, Location};
use crate::model::{
    AttemptId, Digest, Epoch, EventTime, EventTimeState, FileEntry, Lane, PartitionId, PluginIdentity, ReplacedVersion,
    Segment, SourceRange, StagedFile, StepIdentity, StepState, StepVersion,
};

const GOLDEN: &str = include_str!("epoch.golden.json");

fn record() -> EpochRecord {
    let epoch = |number| Epoch::new(number).unwrap();
    let file = FileEntry { path: "a/b.json".into(), size: 12, modified_us: -1, etag: Some("e".into()) };
    let staged = StagedFile { add: serde_json::json!({ "path": "part-0.parquet" }), rows: 3, size_bytes: 99 };
    let segment = Segment {
        name: "main/state/source/00000000000000000006-x".into(),
        through: epoch(6),
        entries: 64,
        size_bytes: 4096,
        sha256: Digest::of(b"segment"),
    };
    let plugin = PluginIdentity {
        step: "parser".into(),
        name: "json".into(),
        version: "0.1.0".into(),
        sha256: Digest::of(b"plugin"),
    };
    let step = StepState {
        identity: StepIdentity {
            shape: BTreeMap::from([("key".into(), "deviceId".into())]),
            plugin: Some("statistics".into()),
            state_version: 1,
        },
        segments: vec![Segment { name: "main/state/window.summary/00000000000000000007-x".into(), ..segment.clone() }],
    };
    let notifications = Segment {
        name: "main/state/notify/00000000000000000007-x".into(),
        through: epoch(7),
        entries: 2,
        size_bytes: 512,
        sha256: Digest::of(b"alerts"),
    };
    let replaced = ReplacedVersion {
        name: "json".into(),
        version: "0.0.9".into(),
        sha256: Digest::of(b"older"),
        until: epoch(5),
        until_us: 1_759_689_000_000_000,
        failed: false,
    };
    let version = StepVersion { since: epoch(5), in_place_of: Some(Digest::of(b"named")), replaced: vec![replaced] };
    let schema = serde_json::json!({ "type": "struct", "fields": [] });
    let table = StagedTable { location: "/tables/events".into(), files: vec![staged], schema: Some(schema) };
    EpochRecord {
        pipeline: "an-id".into(),
        lane: Lane::single(),
        epoch: epoch(7),
        attempt: AttemptId::new("x"),
        clock_us: 1_759_689_610_000_000,
        source: SourceState {
            identity: "files in /input".into(),
            range: SourceRange::Files(vec![file]),
            segments: vec![segment],
        },
        tables: BTreeMap::from([("events".into(), table)]),
        plugins: vec![plugin],
        versions: BTreeMap::from([("parser".into(), version)]),
        schema: Some(3),
        event_time: Some(EventTimeState {
            watermark: Some(EventTime(1_759_689_300_000_000)),
            partitions: BTreeMap::from([(PartitionId("0".into()), EventTime(1_759_689_600_000_000))]),
        }),
        steps: BTreeMap::from([("window.summary".into(), step)]),
        notifications: vec![notifications],
    }
}

#[test]
fn epoch_record_stays_as_it_was_agreed() {
    assert_eq!(String::from_utf8(encode(&record()).unwrap()).unwrap(), GOLDEN.trim_end());
    assert_eq!(decode::<EpochRecord>("golden", GOLDEN.trim_end().as_bytes()).unwrap(), record());
}

#[test]
fn record_of_a_weir_that_knew_no_notifications_is_read() {
    let bytes = encode(&EpochRecord { notifications: Vec::new(), ..record() }).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("notifications"));
    assert_eq!(decode::<EpochRecord>("old", &bytes).unwrap().notifications, []);
}

#[test]
fn record_of_a_weir_that_kept_no_schema_is_read() {
    let mut old = EpochRecord { schema: None, ..record() };
    old.tables.values_mut().for_each(|table| table.schema = None);
    let bytes = encode(&old).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("schema"));
    assert_eq!(decode::<EpochRecord>("old", &bytes).unwrap(), old);
}

#[tokio::test]
async fn schema_versions_are_put_once_and_the_newest_counts() {
    let env = Env::system();
    let storage = env.storage(&Location::parse("memory:///schemas", std::path::Path::new("/")).unwrap()).unwrap();
    let checkpoint = Checkpoint::open(storage.clone(), "p", &env).await.unwrap();
    let version = |version: u64, column: &str| SchemaRecord {
        version,
        created_us: 7,
        columns: vec![column.to_owned()],
        partition_columns: Vec::new(),
    };
    assert_eq!(checkpoint.newest_schema().await.unwrap(), None);
    assert_eq!(checkpoint.put_schema(&version(0, "a string")).await.unwrap(), PutSchema::Stored);
    assert_eq!(checkpoint.put_schema(&version(0, "a string")).await.unwrap(), PutSchema::Stored);
    let taken = checkpoint.put_schema(&version(0, "b string")).await.unwrap();
    assert_eq!(taken, PutSchema::Taken(version(0, "a string")));
    for number in 1..12 {
        assert_eq!(checkpoint.put_schema(&version(number, "c string")).await.unwrap(), PutSchema::Stored);
    }
    assert_eq!(checkpoint.newest_schema().await.unwrap(), Some(version(11, "c string")));
    // One in the place of another is damage, and so is what does not belong there.
    let moved = storage.get("main/schema/00000000000000000003.json").await.unwrap().unwrap();
    storage.put("main/schema/00000000000000000012.json", moved).await.unwrap();
    let error = checkpoint.newest_schema().await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
    storage.put("main/schema/notes.txt", bytes::Bytes::new()).await.unwrap();
    assert!(checkpoint.newest_schema().await.unwrap_err().to_string().contains("move it elsewhere"));
}

#[test]
fn flipped_bits_and_cuts_never_give_another_record() {
    let sound = encode(&record()).unwrap();
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << bit;
            // A digit of a digest in the other case means the same.
            let decoded = decode::<EpochRecord>("damaged", &damaged);
            assert!(decoded.map_or(true, |decoded| decoded == record()), "bit {bit} of byte {at}");
        }
        let error = decode::<EpochRecord>("cut", &sound[..at]).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "cut at {at}");
    }
}

/// The golden record with some of its bytes replaced.
fn mutated(golden: &str, edits: &[(usize, usize, String)]) -> Vec<u8> {
    let mut bytes = golden.as_bytes().to_vec();
    for (at, length, text) in edits {
        let at = at % (bytes.len() + 1);
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, text.bytes());
    }
    bytes
}

/// Some record or Corrupt, by name.
#[track_caller]
fn check_total(bytes: &[u8]) {
    match decode::<EpochRecord>("an-object", bytes) {
        Ok(record) => {
            let again = decode::<EpochRecord>("an-object", &encode(&record).unwrap()).unwrap();
            assert_eq!(again, record, "what was read can be written and read");
        }
        Err(error) => {
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("an-object"), "{error}");
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    let text = prop_oneof![
        "[\\[\\]{}:,\"\\\\.a-f0-9\\n é-]{0,8}",
        Just("18446744073709551615".to_owned()),
        Just("null".to_owned())
    ];
    prop::collection::vec((any::<usize>(), 0_usize..24, text), 1..4)
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_total(&bytes);
    }

    #[test]
    fn any_header_before_a_sound_body_is_a_record_or_corrupt(edits in edits()) {
        let (header, body) = GOLDEN.trim_end().split_once('\n').unwrap();
        check_total(&[&mutated(header, &edits), b"\n".as_slice(), body.as_bytes()].concat());
    }

    #[test]
    fn any_body_with_the_digest_that_its_header_names_is_a_record_or_corrupt(edits in edits()) {
        let (_, body) = GOLDEN.trim_end().split_once('\n').unwrap();
        let body = mutated(body, &edits);
        let header = serde_json::json!({ "weir": "epoch", "version": 1, "sha256": Digest::of(&body) }).to_string();
        check_total(&[header.as_bytes(), b"\n", &body].concat());
    }
}
