//! Many epochs in one process: neither open files nor memory grow with them.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use tokio::sync::watch;
use weir::env::Env;
use weir::pipeline::{Progress, Report};
use weir_tests::hosts::parse;
use weir_tests::memory::{live_bytes, status_kib};
use weir_tests::{binary, readings};

/// Epochs before the first look, when caches are warm, and before the second.
const WARM: u64 = 100;
const SOAKED: u64 = 300;
const READINGS_EACH: usize = 20;

/// What may come and go.
const MORE_OPEN_FILES: usize = 8;
const MORE_LIVE_BYTES: usize = 1 << 20;
const MORE_RESIDENT_BYTES: usize = 64 << 20;

/// Set in the process that soaks, which runs no other test.
const SOAKS: &str = "WEIR_TEST_SOAKS";

fn pipeline(folder: &str) -> String {
    format!(
        r#"
[pipeline]
name = "soak"
checkpoint = "{folder}/checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "{folder}/input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = {{ columns = "number bigint, device string" }}

[table.numbers]
path = "{folder}/numbers"
"#
    )
}

/// What the process holds.
#[derive(Debug, Default)]
struct Usage {
    open_files: usize,
    live_bytes: usize,
    resident_bytes: usize,
}

impl Usage {
    /// As it is now, from proc(5).
    fn now() -> Self {
        let open_files = fs::read_dir("/proc/self/fd").unwrap().count();
        let resident_kib = usize::try_from(status_kib("self", "VmRSS").unwrap()).unwrap();
        Self { open_files, live_bytes: live_bytes(), resident_bytes: resident_kib << 10 }
    }
}

/// Looks at the process after some epochs.
#[derive(Default)]
struct Looks {
    epochs: u64,
    warm: Usage,
    soaked: Usage,
}

impl Report for Looks {
    fn planned(&mut self, _left_bytes: Option<u64>) {}

    fn chunk(&mut self, _payload_bytes: u64, _rows: u64) {}

    fn epoch(&mut self, _progress: &Progress) {
        self.epochs += 1;
        match self.epochs {
            WARM => self.warm = Usage::now(),
            SOAKED => self.soaked = Usage::now(),
            _ => {}
        }
    }
}

async fn soak() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    for (name, text) in readings::files(usize::try_from(SOAKED).unwrap(), READINGS_EACH) {
        fs::write(folder.path().join("input").join(name), text).unwrap();
    }
    let (pipeline, file) = parse(&pipeline(&folder.path().display().to_string()));
    let (_stop, shutdown) = watch::channel(false);
    let mut looks = Looks::default();
    weir::pipeline::run(&pipeline, &file, &Env::system(), shutdown, &mut looks).await.unwrap();
    let Looks { epochs, warm, soaked } = looks;
    assert_eq!(epochs, SOAKED);
    assert!(warm.live_bytes > 0 && warm.open_files > 0, "{warm:?}");
    let grown = |soaked: usize, warm: usize| soaked.saturating_sub(warm);
    assert!(grown(soaked.open_files, warm.open_files) <= MORE_OPEN_FILES, "{warm:?}, then {soaked:?}");
    assert!(grown(soaked.live_bytes, warm.live_bytes) <= MORE_LIVE_BYTES, "{warm:?}, then {soaked:?}");
    assert!(grown(soaked.resident_bytes, warm.resident_bytes) <= MORE_RESIDENT_BYTES, "{warm:?}, then {soaked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_epochs_in_one_process_keep_files_and_memory_bounded() {
    if weir::env::variable(SOAKS).is_some() {
        return soak().await;
    }
    // Other tests of this process would be counted, too.
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let alone = ["--exact", &name, "--nocapture"];
    let output = Command::new(std::env::current_exe().unwrap()).args(alone).env(SOAKS, "1").output().unwrap();
    let printed = binary::text(&output);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}
