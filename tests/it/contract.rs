//! The contract with plugins, held still: a released version never changes.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use weir_tests::root;

/// All items of all files of a version, without comments and empty lines.
fn items(version: &str) -> String {
    let entries = fs::read_dir(root().join("wit").join(version)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut items = String::new();
    for file in files {
        let _ = writeln!(items, "== {}", file.file_name().unwrap().to_string_lossy());
        for line in fs::read_to_string(&file).unwrap().lines() {
            let code = line.split("//").next().unwrap_or_default().trim_end();
            if !code.trim().is_empty() {
                let _ = writeln!(items, "{code}");
            }
        }
    }
    items
}

#[test]
fn contract_0_1_0_stays_as_it_was_agreed() {
    let (found, golden) = (items("0.1.0"), include_str!("contract.golden"));
    let other = found.lines().zip(golden.lines()).find(|(found, golden)| found != golden);
    assert!(
        found == golden,
        "the contract differs from tests/it/contract.golden, first in (found, expected) {other:?}: plugins that \
         were built for it would fail. Give the change a version of its own; if this one was never released, \
         write this to the golden file:\n{found}"
    );
}
