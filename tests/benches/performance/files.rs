//! Many small files, dropped into a folder: what each costs, and what it costs to
//! see that none is new. `WEIR_BENCH_FILES` sets how many there are.

use std::fs;
use std::path::Path;

use weir::pipeline::Silent;

use super::{memory_mib, run};

/// Each with this many readings, as a gateway drops them.
const READINGS_EACH: usize = 10;
const FILES: usize = 100_000;
/// Files that lie in one folder.
const FILES_A_FOLDER: usize = 1000;

const PIPELINE: &str = r#"
[pipeline]
name = "files"
checkpoint = "data/checkpoint"
trigger = "available-now"

[source.files]
path = "input"

[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, ts as local_ts timestamp, temperature double, status string" }

[table.readings]
path = "data/readings"
"#;

/// Measures and prints.
pub(super) fn print() {
    let files = weir::env::variable("WEIR_BENCH_FILES").and_then(|files| files.parse().ok()).unwrap_or(FILES);
    let folder = tempfile::tempdir().unwrap();
    write_input(folder.path(), files);
    println!("{files} files of {READINGS_EACH} readings, epochs of at most 1000 files");
    println!("{:<40} {:>9} {:>9} {:>9} {:>9}", "", "epochs", "ms a file", "CPU", "peak MiB");
    for name in ["all new", "nothing new"] {
        let (summary, wall, cpu) = run(folder.path(), PIPELINE, &mut Silent);
        let each = |seconds: f64| seconds * 1e3 / files as f64;
        println!("{name:<40} {:>9} {:>9.3} {:>9.3} {:>9}", summary.epochs, each(wall), each(cpu), memory_mib("VmHWM"));
    }
    let parquet = fs::read_dir(folder.path().join("data/readings")).unwrap();
    let parquet =
        parquet.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "parquet"));
    println!("{:<40} {:>9}\n", "Parquet files", parquet.count());
}

fn write_input(folder: &Path, files: usize) {
    for file in 0..files {
        let below = folder.join("input").join(format!("{:04}", file / FILES_A_FOLDER));
        if file % FILES_A_FOLDER == 0 {
            fs::create_dir_all(&below).unwrap();
        }
        let readings = (0..READINGS_EACH).map(|reading| {
            let number = file * READINGS_EACH + reading;
            format!(
                "  {{\"deviceId\": \"d-{}\", \"ts\": \"2025-10-06T10:{:02}:{:02}Z\", \"temperature\": {}.5, \"status\": \"OK\"}}",
                number % 1000,
                number / 60 % 60,
                number % 60,
                number % 40
            )
        });
        let text = format!("[\n{}\n]\n", readings.collect::<Vec<_>>().join(",\n"));
        fs::write(below.join(format!("{file:08}.json")), text).unwrap();
    }
}
