//! Which existing tables weir can append to without breaking their rules.
//!
//! The table says what writers must understand (Delta protocol, "Table Features"
//! and "Requirements for Writers"). An append honours some features by itself,
//! some only if the table lists but does not use them; everything else is refused.

use std::collections::HashMap;

use delta_kernel::actions::{Metadata, Protocol};

/// Readers ignore transaction versions older than this property says, and the
/// epoch protocol stands on them.
const RETENTION_OF_TRANSACTIONS: &str = "delta.setTransactionRetentionDuration";

/// Features that appending files honours without further ado.
const HONOURED: &[&str] = &[
    "appendOnly",
    "changeDataFeed",
    "checkpointProtection",
    "deletionVectors",
    "domainMetadata",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// Features that an append honours while the table makes no use of them.
const HONOURED_UNUSED: &[&str] =
    &["checkConstraints", "columnMapping", "generatedColumns", "identityColumns", "inCommitTimestamp", "invariants"];

/// The last writer version whose rules come without a list of features.
const LAST_LEGACY_WRITER: i32 = 6;

/// Which rules a table has that weir would break, one sentence each.
pub(super) fn problems_of(protocol: &Protocol, metadata: &Metadata) -> Vec<String> {
    let mut problems = property_problems(metadata.configuration());
    let schema = metadata.schema_string();
    for (mark, what) in [
        ("delta.generationExpression", "generated columns"),
        ("delta.identity.start", "identity columns"),
        ("delta.invariants", "column invariants"),
    ] {
        if schema.contains(mark) {
            problems.push(format!("the table has {what} ({mark}), which weir does not evaluate"));
        }
    }
    let version = protocol.min_writer_version();
    if version > LAST_LEGACY_WRITER + 1 {
        problems.push(format!("the table asks for writer version {version}, which weir does not know"));
    }
    for feature in protocol.writer_features().into_iter().flatten() {
        let feature = feature.as_ref();
        if !HONOURED.contains(&feature) && !HONOURED_UNUSED.contains(&feature) {
            problems.push(format!("the table has the feature {feature}, which weir does not know"));
        }
    }
    problems
}

/// Which properties ask for something that weir does not do; also for a table
/// that is still to be created.
pub(super) fn property_problems<'a>(properties: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in properties {
        let on = value.eq_ignore_ascii_case("true");
        let why = match key.as_str() {
            RETENTION_OF_TRANSACTIONS => "readers would forget which epochs are committed: unset it",
            "delta.columnMapping.mode" if !value.eq_ignore_ascii_case("none") => "weir does not map columns",
            "delta.enableInCommitTimestamps" if on => "weir does not write commit timestamps",
            "delta.enableRowTracking" if on => "weir does not number rows",
            "delta.enableIcebergCompatV1" | "delta.enableIcebergCompatV2" | "delta.enableIcebergCompatV3" if on => {
                "weir does not write for Iceberg"
            }
            key if key.starts_with("delta.constraints.") => "weir does not evaluate constraints",
            _ => continue,
        };
        problems.push(format!("the table property {key} is {value}: {why}"));
    }
    problems
}

/// The protocol that a new table with these properties needs: nothing unless a
/// property asks for a feature.
pub(super) fn protocol_for(properties: &HashMap<String, String>) -> serde_json::Value {
    let on = |key: &str| properties.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let mut writer = Vec::new();
    let mut reader = Vec::new();
    if on("delta.enableChangeDataFeed") {
        writer.push("changeDataFeed");
    }
    if on("delta.enableDeletionVectors") {
        writer.push("deletionVectors");
        reader.push("deletionVectors");
    }
    if properties.get("delta.checkpointPolicy").is_some_and(|value| value == "v2") {
        writer.push("v2Checkpoint");
        reader.push("v2Checkpoint");
    }
    if writer.is_empty() {
        return serde_json::json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
    }
    writer.extend(["appendOnly", "invariants"]);
    if reader.is_empty() {
        return serde_json::json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": writer });
    }
    serde_json::json!({
        "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": reader, "writerFeatures": writer,
    })
}
