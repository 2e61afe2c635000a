//! Folders of files as sources: what each key becomes.

use std::time::Duration;

use super::*;
use crate::source::files::{Clean, CleanSource, Existing, FileFormat, FilesSettings, Overwrites};

const GLOB: &str = "glob = \"*.json\"";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn pipeline(keys: &str) -> Pipeline {
    let (pipeline, _) = parsed(&VALID.replace(GLOB, keys)).unwrap_or_else(|problems| panic!("{problems}"));
    pipeline
}

fn settings(keys: &str) -> FilesSettings {
    let SourceConfig::Files(settings) = pipeline(keys).source else { panic!("it is files") };
    *settings
}

#[test]
fn a_path_is_enough() {
    let settings = settings("");
    assert_eq!(settings, FilesSettings::new(settings.folder.clone()));
}

#[test]
fn every_key_has_its_place() {
    let keys = r#"
        glob = "*.csv"
        format = "csv"
        csv_quote = "'"
        partition_columns = ["date", "hour"]
        max_files_per_epoch = 7
        max_bytes_per_epoch = "2MiB"
        poll_interval = "1s"
        include_existing = false
        allow_overwrites = true
        max_file_age = "90d"
        use_incremental_listing = true
        backfill_interval = "6h"
        clean_source = "move"
        clean_source_retention = "0s"
        clean_source_move_to = "archive"
    "#;
    let bounds = pipeline(keys).epoch_bounds;
    assert_eq!((bounds.max_files, bounds.max_bytes), (7, 2 << 20));
    let settings = settings(keys);
    let to = crate::env::Location::parse("/etc/weir/archive", Path::new("")).expect("a location");
    let expected = FilesSettings {
        folder: settings.folder.clone(),
        glob: "*.csv".to_owned(),
        format: FileFormat::Csv,
        csv_quote: Some(b'\''),
        partition_columns: vec!["date".to_owned(), "hour".to_owned()],
        poll_interval: Duration::from_secs(1),
        existing: Existing::PassedOver,
        overwrites: Overwrites::Read,
        max_age: Some(DAY * 90),
        backfill_interval: Some(DAY / 4),
        clean: Some(CleanSource { how: Clean::Move(to), retention: Duration::ZERO }),
    };
    assert_eq!(settings, expected);
}

#[test]
fn defaults_depend_on_what_is_asked_for() {
    let clean = settings("clean_source = \"delete\"").clean;
    assert_eq!(clean, Some(CleanSource { how: Clean::Delete, retention: DAY * 30 }));
    assert_eq!(settings("clean_source = \"off\"").clean, None);
    assert_eq!(settings("use_incremental_listing = true").backfill_interval, Some(DAY));
    assert_eq!(settings("backfill_interval = \"1h\"").backfill_interval, None);
    assert_eq!(settings("csv_quote = \"\"").csv_quote, None);
    assert_eq!(pipeline("").epoch_bounds.max_bytes, 64 << 20, "as the pipeline has it");
}

#[test]
fn what_cannot_be_is_told_all_at_once() {
    let keys = "partition_columns = [\"date\", \"header\", \"DATE\"]\nclean_source = \"move\"\nmax_bytes_per_epoch = 0\n\
                csv_quote = \"é\"\nclean_source_retention = \"long\"";
    check(
        &[(GLOB, keys)],
        6,
        &[
            "`header` is a message field",
            "`DATE` is there twice",
            "moved to nowhere",
            "out of range",
            "not a quote",
            "`long` is not",
        ],
    );
    check(&[(GLOB, "clean_source = \"burn\"")], 1, &["burn"]);
}
