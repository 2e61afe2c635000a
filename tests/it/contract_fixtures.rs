//! Components that users have built against a version of the contract: they load and
//! run for ever after, byte for byte as they are. `tests/fixtures/contract-*` has them
//! with their sources; they are never built again.

use std::fs;

use weir_tests::binary::succeed;
use weir_tests::root;

/// The digest of each, so that nobody replaces one unseen.
const COMPONENTS: &[(&str, &str)] =
    &[("contract-0.1.0/lines.wasm", "38c4e005faa9b157c56d55c01f720d702cd3e34fa2a94e96959a33e5ed8cf592")];

#[test]
fn components_of_every_contract_load_and_run() {
    crate::binary();
    for (file, digest) in COMPONENTS {
        let component = root().join("tests/fixtures").join(file).display().to_string();
        let folder = tempfile::tempdir().unwrap();
        let told = succeed(folder.path(), &["plugin", "inspect", &component, "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["sha256"], *digest, "{file} must stay as it is: put a new component beside it");
        assert_eq!(told["accepted"], true, "{file}");
        fs::create_dir(folder.path().join("input")).unwrap();
        let lines = "device=greenhouse-1 temperature=21.5\ndevice=greenhouse-2 temperature=warm\ndevice=greenhouse-3\n";
        fs::write(folder.path().join("input/a.txt"), lines).unwrap();
        let pipeline = format!(
            "[pipeline]\nname = \"kept\"\ncheckpoint = \"data/checkpoint\"\ntrigger = \"available-now\"\n\
             max_dead_letter_ratio = 0.5\n[source.files]\npath = \"input\"\nformat = \"text\"\n\
             [parser]\nplugin = \"{component}\"\nconfig = {{ separator = \" \" }}\n\
             [table.readings]\npath = \"data/readings\"\n"
        );
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        succeed(folder.path(), &["run", "pipeline.toml"]);
        let rows = succeed(folder.path(), &["table", "show", "data/readings", "--json"]);
        assert_eq!(
            rows, "{\"device\":\"greenhouse-1\",\"temperature\":21.5}\n{\"device\":\"greenhouse-3\"}\n",
            "{file}"
        );
        let letters = succeed(folder.path(), &["dead-letters", "pipeline.toml", "--json"]);
        assert!(letters.contains("the temperature `warm` is no number"), "{file}: {letters}");
    }
}
