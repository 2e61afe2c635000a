//! Alerts that people are notified of: the same ones as in the table, at least
//! once, whatever dies; and nothing of a pipeline depends on whoever is notified.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use object_store::memory::InMemory;
use serde_json::Value;
use sha2::Sha256;
use weir::env::Location;
use weir::sink::delta::show;
use weir_tests::binary::{succeed, text, weir};
use weir_tests::faults::{Fault, FaultyStore};
use weir_tests::hosts::{env, put_input, run};
use weir_tests::http::{Answer, Endpoint, Request};

const PIPELINE: &str = r#"
[pipeline]
name = "alarms"
checkpoint = "data/checkpoint"
trigger = "available-now"
threads = 2

[source.files]
path = "input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = { columns = "number bigint, ts as event_time timestamp, temperature double" }

[table.readings]
path = "data/readings"

[event_time]
column = "event_time"
delay = "0s"

[rule.hot]
plugin = "builtin:thresholds"
config.levels = [{ column = "temperature", above = 30.0, kind = "HOT", severity = "WARNING", message = "{value}°C" }]
table = { path = "data/alerts", columns = ["number", "temperature", "alert.id as id"] }
notify = NOTIFY
"#;

/// A folder with a pipeline that notifies these.
fn project(notify: &str) -> tempfile::TempDir {
    crate::binary();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("input")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), PIPELINE.replace("NOTIFY", notify)).unwrap();
    folder
}

/// Readings with these numbers, a second apart; the odd ones are hot.
fn readings(numbers: std::ops::Range<u32>) -> String {
    let reading = |number: u32| {
        let (minute, second, temperature) = (number / 60 % 60, number % 60, 20 + number % 2 * 15);
        format!(
            r#"{{"number": {number}, "ts": "2025-10-06T10:{minute:02}:{second:02}Z", "temperature": {temperature}.5}}"#
        )
    };
    format!("[{}]", numbers.map(reading).collect::<Vec<_>>().join(",\n"))
}

fn put(folder: &Path, name: &str, text: &str) {
    let unfinished = folder.join(format!("{name}.tmp"));
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, folder.join("input").join(name)).unwrap();
}

/// The values of a column of the table of alerts, in its order.
fn of_table(folder: &Path, column: &str) -> Vec<Value> {
    let shown = succeed(folder, &["table", "show", "data/alerts", "--json", "--limit", "1000000", "--columns", column]);
    shown.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()[column].clone()).collect()
}

fn ids_of_table(folder: &Path) -> BTreeSet<String> {
    let ids = of_table(folder, "id");
    let set: BTreeSet<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(set.len(), ids.len(), "each alert is in the table once");
    set
}

fn alerts_of(request: &Request) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["pipeline"], "alarms");
    body["alerts"].as_array().unwrap().clone()
}

fn ids_of(alerts: &[Value]) -> Vec<String> {
    alerts.iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect()
}

fn ids_of_requests(requests: &[Request]) -> Vec<String> {
    requests.iter().flat_map(|request| ids_of(&alerts_of(request))).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn start(folder: &Path) -> Child {
    let mut process = weir(folder, &["run", "pipeline.toml"]);
    process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_arrive_once_and_signed_with_the_ids_and_rows_of_the_table() {
    let endpoint = Endpoint::start([]).await;
    let hook = format!("{{ webhook = \"{}/hook?key=1\", secret = \"k-5f1d\", batch = 2 }}", endpoint.origin());
    let folder = project(&format!("[{hook}, {{ file = \"told/alerts.jsonl\" }}, {{ stdout = true }}]"));
    put(folder.path(), "a.json", &readings(0..6));
    let told = succeed(folder.path(), &["run", "pipeline.toml"]);
    put(folder.path(), "b.json", r#"[{"number": 7, "temperature": 99.0}]"#);
    let told = told + &succeed(folder.path(), &["run", "pipeline.toml"]);

    let requests = endpoint.requests();
    let sizes: Vec<usize> = requests.iter().map(|request| alerts_of(request).len()).collect();
    assert_eq!(sizes, [2, 1, 1]);
    for request in &requests {
        assert_eq!(request.target, "POST /hook?key=1");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"k-5f1d").unwrap();
        mac.update(format!("{}.", request.header("weir-timestamp").unwrap()).as_bytes());
        mac.update(&request.body);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(request.header("weir-signature"), Some(format!("v1={hex}").as_str()));
        assert_eq!(request.header("weir-delivery"), Some(ids_of(&alerts_of(request))[0].as_str()));
    }
    let alerts: Vec<Value> = requests.iter().flat_map(alerts_of).collect();
    assert_eq!(ids_of(&alerts).into_iter().collect::<BTreeSet<_>>(), ids_of_table(folder.path()));
    let file = fs::read_to_string(folder.path().join("told/alerts.jsonl")).unwrap();
    assert_eq!((lines(&file), lines(&told)), (alerts.clone(), alerts.clone()));

    let mut first = alerts[0].clone();
    let id = first["id"].take();
    let row = serde_json::json!({ "number": 1, "temperature": 35.5, "id": id });
    let expected = serde_json::json!({
        "id": null, "rule": "hot", "kind": "HOT", "severity": "WARNING", "message": "35.5°C",
        "time": "2025-10-06T10:00:01Z", "epoch": 0, "row": row,
    });
    assert_eq!(first, expected);
    assert_eq!(alerts[3].get("time"), None, "a reading without a time");
}

#[test]
fn windows_notify_through_their_rules_and_repeated_rows_do_not() {
    let folder = project("[{ stdout = true }]");
    let path = folder.path().join("pipeline.toml");
    let text = fs::read_to_string(&path).unwrap() + WINDOW;
    fs::write(
        &path,
        text.replace("delay = \"0s\"", "delay = \"0s\"\ndeduplicate = { by = [\"number\"], within = \"1h\" }"),
    )
    .unwrap();
    put(folder.path(), "a.json", &readings(0..4));
    put(folder.path(), "b.json", &readings(2..70));
    let told = lines(&succeed(folder.path(), &["run", "pipeline.toml", "--progress", "none"]));
    let of_rule = |rule: &str| told.iter().filter(|alert| alert["rule"] == rule).cloned().collect::<Vec<_>>();
    let numbers: BTreeSet<i64> = of_rule("hot").iter().map(|alert| alert["row"]["number"].as_i64().unwrap()).collect();
    assert_eq!((numbers.len(), of_rule("hot").len()), (35, 35), "each odd number once");
    assert_eq!(ids_of(&of_rule("hot")).into_iter().collect::<BTreeSet<_>>(), ids_of_table(folder.path()));
    let warm = of_rule("warm");
    assert_eq!(warm.len(), 1, "{warm:?}");
    assert_eq!(warm[0]["time"], "2025-10-06T10:00:59.999999Z", "the last instant of the window");
    assert_eq!(warm[0]["row"]["readings"], 60);
}

const WINDOW: &str = r#"
[window.minutes]
size = "1m"
plugin = "builtin:statistics"
config = { "*" = ["count as readings"], temperature = ["avg"] }

[rule.warm]
input = "minutes"
plugin = "builtin:thresholds"
config.levels = [{ column = "avg_temperature", above = 20.0, kind = "WARM", severity = "INFO", message = "warm" }]
table = { path = "data/warm" }
notify = [{ stdout = true }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_webhook_holds_up_nothing_and_more_alerts_than_may_wait_are_dropped_oldest_first() {
    let endpoint = Endpoint::start([Answer::Hang]).await;
    let hook = format!("[{{ webhook = \"{}\", batch = 1000, timeout = \"1h\" }}]", endpoint.origin());
    let folder = project(&hook);
    for file in 0..3 {
        put(folder.path(), &format!("{file}.json"), &readings(file * 10_000..file * 10_000 + 8000));
    }
    let output = weir(folder.path(), &["run", "pipeline.toml", "--progress", "lines"]).output().unwrap();
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let summary = "alerts: 0 notified, 8,000 wait for the next run, 0 refused, 4,000 dropped; all are in their tables";
    assert!(printed.contains(summary), "{printed}");
    assert_eq!(endpoint.requests().len(), 1);

    succeed(folder.path(), &["run", "pipeline.toml"]);
    let delivered: Vec<Value> = endpoint.requests()[1..].iter().flat_map(alerts_of).collect();
    let epochs: Vec<i64> = delivered.iter().map(|alert| alert["epoch"].as_i64().unwrap()).collect();
    assert!(epochs.is_sorted());
    // Of those that were dropped some may come all the same, before all are restored.
    assert_eq!(epochs.iter().filter(|epoch| **epoch > 0).count(), 8000);
    let table = ids_of_table(folder.path());
    assert_eq!(table.len(), 12_000, "all are in the table");
    assert!(ids_of(&delivered).iter().all(|id| table.contains(id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_alerts_on_their_way_the_next_run_delivers_them() {
    let endpoint = Endpoint::start([Answer::Status(200), Answer::Hang]).await;
    let folder = project(&format!("[{{ webhook = \"{}\", batch = 2, timeout = \"1h\" }}]", endpoint.origin()));
    put(folder.path(), "a.json", &readings(0..10));
    let mut process = start(folder.path());
    let hanging = endpoint.wait_for(2).await.remove(1);
    process.kill().unwrap();
    process.wait().unwrap();
    let table = ids_of_table(folder.path());
    assert_eq!(table.len(), 5, "who is notified finds the alert in the table");

    succeed(folder.path(), &["run", "pipeline.toml"]);
    let requests = endpoint.requests();
    let again: Vec<&Request> = requests[2..].iter().filter(|request| request.body == hanging.body).collect();
    assert_eq!(again.len(), 1, "the request that nobody answered came again");
    assert_eq!(again[0].header("weir-delivery"), hanging.header("weir-delivery"));
    assert_eq!(ids_of_requests(&requests).into_iter().collect::<BTreeSet<_>>(), table);
    succeed(folder.path(), &["run", "pipeline.toml"]);
    assert_eq!(endpoint.requests(), requests, "what is delivered is not sent by later runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_a_run_leaves_what_waits_to_the_next() {
    let endpoint = Endpoint::start([Answer::Hang]).await;
    let folder = project(&format!("[{{ webhook = \"{}\", timeout = \"1h\" }}]", endpoint.origin()));
    let path = folder.path().join("pipeline.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("available-now", "asap")).unwrap();
    put(folder.path(), "a.json", &readings(0..10));
    let mut process = start(folder.path());
    endpoint.wait_for(1).await;
    let stop = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(stop.success());
    assert!(process.wait().unwrap().success());
    let mut printed = String::new();
    process.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(printed.contains("5 wait for the next run"), "{printed}");

    fs::write(&path, text).unwrap();
    succeed(folder.path(), &["run", "pipeline.toml"]);
    let delivered = ids_of_requests(&endpoint.requests()[1..]);
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>(), ids_of_table(folder.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_counts_for_each_who_is_notified() {
    let endpoint = Endpoint::start(vec![Answer::Status(404); 5]).await;
    let folder = project(&format!("[{{ webhook = \"{}\" }}, {{ file = \"alerts.jsonl\" }}]", endpoint.origin()));
    put(folder.path(), "a.json", &readings(0..10));
    let output = weir(folder.path(), &["run", "pipeline.toml", "--progress", "lines"]).output().unwrap();
    assert!(text(&output).contains("alerts: 5 notified, 0 wait for the next run, 5 refused"), "{}", text(&output));
    put(folder.path(), "b.json", &readings(10..20));
    let progress = lines(&succeed(folder.path(), &["run", "pipeline.toml", "--progress", "json"]));
    let notifications = progress[0]["notifications"].as_array().unwrap();
    let names: Vec<&str> = notifications.iter().map(|one| one["destination"].as_str().unwrap()).collect();
    assert!(names[0].starts_with("rule.hot.webhook-") && names[1].starts_with("rule.hot.file-"), "{names:?}");
    for one in notifications {
        let number = |key: &str| one[key].as_u64().unwrap();
        assert_eq!(number("numDelivered") + number("numWaiting"), 5, "{one}");
        assert_eq!((number("numRefused"), number("numDropped"), number("numFailedAttempts")), (0, 0, 0), "{one}");
    }
}

/// All that who sends requests has to say.
const LOUD: &str = "info,weir=trace,reqwest=trace,hyper=trace,hyper_util=trace";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_a_webhook_are_nowhere() {
    let endpoint = Endpoint::start(vec![Answer::Status(403); 10]).await;
    let url = endpoint.origin().replace("http://", "http://S3CRET-user:S3CRET-password@");
    let hook = format!("{{ webhook = \"{url}/S3CRET-path?S3CRET-query\", secret = \"S3CRET-key\" }}");
    let folder = project(&format!("[{hook}, {{ webhook = \"${{HOOK}}\", secret = \"${{HOOK_KEY}}\" }}]"));
    put(folder.path(), "a.json", &readings(0..10));
    let mut printed = String::new();
    for arguments in [&["check", "pipeline.toml"][..], &["run", "pipeline.toml", "--progress", "json", "--show"]] {
        let mut command = weir(folder.path(), arguments);
        command.env("HOOK", format!("{}/S3CRET-hook", endpoint.origin())).env("HOOK_KEY", "S3CRET-env");
        let output = command.env("WEIR_LOG", LOUD).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        printed += &text(&output);
    }
    assert!(printed.contains("refuses"), "{printed}");
    assert!(!printed.contains("S3CRET"), "{printed}");
    fs::remove_file(folder.path().join("pipeline.toml")).unwrap();
    for entry in walkdir::WalkDir::new(folder.path()).into_iter().map(Result::unwrap) {
        let name = entry.path().display();
        assert!(!name.to_string().contains("S3CRET"), "{name}");
        if entry.file_type().is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"S3CRET"), "{name}");
        }
    }
}

/// Breaks a run at each operation on its store in turn: whoever is notified is
/// notified of each alert in the table, and of no other.
async fn check(fault: Fault) {
    let mut at = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alerts.jsonl");
        let notify = format!("[{{ file = \"{}\" }}]", file.display());
        let text = PIPELINE.replace("NOTIFY", &notify);
        let text = text.replace("\"data/", "\"memory:///").replace("\"input\"", "\"memory:///input\"");
        let store = Arc::new(InMemory::new());
        put_input(&store, [("a".to_owned(), readings(0..4)), ("b".to_owned(), readings(4..9))]).await;
        let faulty = FaultyStore::breaking(Arc::clone(&store), fault, at);
        let first = run(Arc::clone(&faulty) as _, &text).await;
        let when = format!("{fault:?} at operation {at}, after which the run said {first:?}");
        let second = run(Arc::clone(&store) as _, &text).await;
        assert!(second.is_ok(), "{when}; the next run said {second:?}");
        let location = Location::parse("memory:///alerts", Path::new("")).unwrap();
        let storage = env(Arc::clone(&store) as _).storage(&location).unwrap();
        let rows = show::first_rows(&storage, usize::MAX, Some(&["id".to_owned()])).await.unwrap();
        let ids = rows.iter().flat_map(|rows| {
            let ids = arrow::array::AsArray::as_string::<i32>(rows.column(0));
            ids.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        });
        let table: BTreeSet<String> = ids.collect();
        let notified = lines(&fs::read_to_string(&file).unwrap_or_default());
        assert_eq!(ids_of(&notified).into_iter().collect::<BTreeSet<_>>(), table, "{when}");
        assert_eq!(table.len(), 4, "{when}");
        if !faulty.was_reached() {
            assert!(at > 20, "a run makes more than {at} operations");
            return;
        }
        at += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_any_operation_notifies_of_what_is_in_the_table() {
    check(Fault::CrashBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_any_operation_notifies_of_what_is_in_the_table() {
    check(Fault::CrashAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_of_any_operation_notifies_of_what_is_in_the_table() {
    check(Fault::FailsOnce).await;
}
