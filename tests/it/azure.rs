//! A pipeline whose source, checkpoint and tables all lie in Azure Blob Storage:
//! the real binary on Azurite, and its tables read by somebody else's reader.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use weir_tests::azurite::{ACCOUNT, Azurite, CONTAINER, Folder, KEY};
use weir_tests::binary::{self, text};
use weir_tests::hosts::{integers, numbered, put_input};
use weir_tests::{python, readings};

use crate::kills::{Random, number};

/// How often the process is killed, unless `WEIR_TEST_KILLS` says otherwise.
const KILLS: u64 = 10;

/// `AT` is where everything lies.
const PIPELINE: &str = r#"
[pipeline]
name = "azure"
checkpoint = "AT/checkpoint"
trigger = "available-now"
threads = 2
max_dead_letter_ratio = 1.0

[source.files]
path = "AT/input"
max_files_per_epoch = 2

[parser]
plugin = "builtin:json"
config = { columns = "number bigint, device string" }

[table.numbers]
path = "AT/tables/numbers"
partition_by = ["device"]
"#;

/// A pipeline, on this machine, whose every location lies in a folder of Azurite.
struct Project {
    azurite: &'static Azurite,
    cloud: Folder,
    folder: tempfile::TempDir,
}

impl Project {
    async fn new() -> Self {
        crate::binary();
        let azurite = Azurite::shared().await;
        let (cloud, folder) = (azurite.folder(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("pipeline.toml"), PIPELINE.replace("AT", &cloud.url)).unwrap();
        Self { azurite, cloud, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary::weir(self.folder.path(), arguments);
        command.envs(self.azurite.environment());
        command
    }

    /// Run to the end; what it printed.
    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "weir {arguments:?} failed: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn put(&self, files: Vec<(String, String)>) {
        put_input(&self.cloud.store, files).await;
    }

    async fn numbers(&self) -> Vec<i64> {
        integers(&self.cloud.store, "memory:///tables/numbers", "number").await
    }
}

const READ: &str = r#"
import os, sys
os.environ["AZURITE_BLOB_STORAGE_URL"] = sys.argv[1]
from deltalake import DeltaTable
for url in sys.argv[2:]:
    table = DeltaTable(url, storage_options={"azure_storage_use_emulator": "true"})
    rows = table.to_pyarrow_table()
    print(table.version(), table.metadata().partition_columns, sorted(rows[rows.column_names[0]].to_pylist()))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn job_on_azurite_gives_tables_that_python_deltalake_reads_and_restarts_where_it_stopped() {
    let project = Project::new().await;
    let mut files = readings::files(5, 100);
    let last = files.pop().unwrap();
    files.push(("broken.json".to_owned(), r#"[{"number": 1e9999}, {"number": "many"}]"#.to_owned()));
    // A file that is not fetched in one go.
    let padding = " ".repeat(3 << 20);
    files.push((
        "large.json".to_owned(),
        format!("[{{\"number\": -1, \"device\": \"d-0\"}},{padding}\n{{\"number\": -2}}]"),
    ));
    // Names of files and folders that must be written otherwise in an address.
    let odd = r#"[{"number": -3, "device": "a b"}, {"number": -4, "device": "50%/ü"}, {"number": -5, "device": "x:y?z#&=+"}]"#;
    files.push(("50% of ü #1?+&.json".to_owned(), odd.to_owned()));
    project.put(files).await;
    let shown = project.succeed(&["run", "pipeline.toml", "--show"]);
    assert!(shown.contains("405 rows"), "{shown}");
    let mut expected = numbered(400);
    expected.splice(0..0, [-5, -4, -3, -2, -1]);
    assert_eq!(project.numbers().await, expected);
    project.put(vec![last]).await;
    project.succeed(&["run", "pipeline.toml"]);
    let again = project.succeed(&["run", "pipeline.toml", "--progress", "json"]);
    assert_eq!(again, "", "nothing is new");
    expected.extend(400..500);
    assert_eq!(project.numbers().await, expected);

    let letters = project.succeed(&["dead-letters", "pipeline.toml"]);
    assert!(letters.contains("broken.json") && letters.contains("2 of 2 rows"), "{letters}");
    let table = format!("{}/tables/numbers", project.cloud.url);
    let history = project.succeed(&["table", "history", &table]);
    assert!(history.contains("json"), "{history}");
    let [_, (_, origin)] = project.azurite.environment();
    let read = python::script(READ, &[origin, &table]);
    let rows = format!("{expected:?}");
    assert!(read.contains("['device']") && read.trim_end().ends_with(&rows), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_while_files_come_to_azurite_loses_and_doubles_nothing() {
    check_kills(PIPELINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_while_files_without_a_declared_schema_come_to_azurite_loses_and_doubles_nothing() {
    let kept = PIPELINE.replace("config = { columns = \"number bigint, device string\" }", "");
    check_kills(&kept.replace("[source.files]", "[source.files]\ninfer_column_types = true")).await;
}

async fn check_kills(pipeline: &str) {
    const FILES: usize = 40;
    const READINGS_EACH: usize = 50;
    let project = Project::new().await;
    fs::write(project.folder.path().join("pipeline.toml"), pipeline.replace("AT", &project.cloud.url)).unwrap();
    let kills = number("WEIR_TEST_KILLS").unwrap_or(KILLS);
    let seed = number("WEIR_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = Random(seed);
    let files = readings::files(FILES, READINGS_EACH);
    let mut waiting = files.chunks(FILES.div_ceil(usize::try_from(kills).unwrap().max(1)));
    for _ in 0..kills {
        let mut process = project.command(&["run", "pipeline.toml", "--progress", "none"]);
        let mut process = process.stderr(Stdio::null()).spawn().unwrap();
        for file in waiting.next().unwrap_or_default() {
            project.put(vec![file.clone()]).await;
        }
        std::thread::sleep(Duration::from_micros(random.below(900_000)));
        process.kill().unwrap();
        process.wait().unwrap();
    }
    project.put(waiting.flatten().cloned().collect()).await;
    project.succeed(&["run", "pipeline.toml"]);
    let numbers = project.numbers().await;
    assert!(numbers == numbered(FILES * READINGS_EACH), "seed {seed}: {} rows", numbers.len());
    let letters = integers(&project.cloud.store, "memory:///checkpoint/dead_letters", "epoch").await;
    assert_eq!(letters, Vec::<i64>::new(), "seed {seed}: no file changed while it was read");
}

/// A connection string, an account with a key at an endpoint, and the emulator at
/// an address of its own all lead to the same place.
#[tokio::test(flavor = "multi_thread")]
async fn account_is_reached_in_every_way_in_which_it_can_be_named() {
    let project = Project::new().await;
    project.put(readings::files(1, 3)).await;
    project.succeed(&["run", "pipeline.toml"]);
    let endpoint = project.azurite.endpoint();
    let [_, (_, origin)] = project.azurite.environment();
    let string =
        format!("DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};");
    let ways: [&[(&str, &str)]; 3] = [
        &[("AZURE_STORAGE_CONNECTION_STRING", &string)],
        &[
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
            ("AZURE_STORAGE_ENDPOINT", &endpoint),
            ("AZURE_ALLOW_HTTP", "true"),
        ],
        &[("AZURE_STORAGE_USE_EMULATOR", "true"), ("AZURE_STORAGE_ENDPOINT", origin)],
    ];
    let table = format!("{}/tables/numbers", project.cloud.url);
    for way in ways {
        let mut command = binary::weir(project.folder.path(), &["table", "show", &table, "--json"]);
        let output = command.envs(way.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{way:?}: {}", text(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "{way:?}");
    }
}

/// What a run says that fails with these variables, and its exit code.
fn refusal(project: &Project, pipeline: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    fs::write(project.folder.path().join("refused.toml"), pipeline).unwrap();
    let mut command = binary::weir(project.folder.path(), &["run", "refused.toml", "--log", "trace"]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), text(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_account_container_or_permission_is_told_with_its_remedy_and_without_secrets() {
    let project = Project::new().await;
    let pipeline = PIPELINE.replace("AT", &project.cloud.url);
    let (code, said) = refusal(&project, &pipeline, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("set AZURE_STORAGE_ACCOUNT_NAME"), "{said}");

    let environment = project.azurite.environment();
    let elsewhere = pipeline.replace(CONTAINER, "nowhere");
    let (code, said) = refusal(&project, &elsewhere, &environment);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the container `nowhere` does not exist: make it"), "{said}");

    let signature = "sv=2024-11-04&ss=b&srt=sco&sp=rwdlac&se=2100-01-01T00:00:00Z&sig=Y2FuYXJ5Y2FuYXJ5";
    let variables = [environment.as_slice(), &[("AZURE_STORAGE_SAS_TOKEN", signature)]].concat();
    let (code, said) = refusal(&project, &pipeline, &variables);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the account does not let us into `weir`"), "{said}");
    assert!(!said.contains("Y2FuYXJ5"), "{said}");

    let key = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYQ==";
    let variables = [environment.as_slice(), &[("AZURE_STORAGE_ACCOUNT_KEY", key)]].concat();
    let (code, said) = refusal(&project, &pipeline, &variables);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the account does not let us into `weir`"), "{said}");
    assert!(!said.contains("Y2FuYXJ5"), "{said}");
}
