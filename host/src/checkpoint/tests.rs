//! The form of durable records: what is written today must be read for ever.

use std::collections::BTreeMap;

use super::codec::{decode, encode};
use super::*;
use crate::model::{AttemptId, Digest, Epoch, FileEntry, Lane, PluginIdentity, Segment, SourceRange, StagedFile};

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
    let table = StagedTable { location: "/tables/events".into(), files: vec![staged] };
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
    }
}

#[test]
fn epoch_record_stays_as_it_was_agreed() {
    assert_eq!(String::from_utf8(encode(&record()).unwrap()).unwrap(), GOLDEN.trim_end());
    assert_eq!(decode::<EpochRecord>("golden", GOLDEN.trim_end().as_bytes()).unwrap(), record());
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
