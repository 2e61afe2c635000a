//! Swaps on the real binary: over HTTP, by commands, by files that change, by signals;
//! across restarts and kills.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use weir::env::{Env, Location, Stopwatch};
use weir::model::Digest;
use weir::plugin::ComponentSource;
use weir_tests::binary::{fail, succeed, text, weir};
use weir_tests::memory::status_kib;
use weir_tests::readings;
use weir_tests::swapping::{FULL_LOAD, STEPS, another};
use weir_tests::tables::sorted_integers;

use crate::kills::{Random, number};

const TOKEN: &str = "a-token-that-nobody-guesses";

/// How long something may take that takes an instant on a machine at rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline that goes on, with its parser in a file beside it.
const PIPELINE: &str = r#"
[pipeline]
name = "swapped"
checkpoint = "data/checkpoint"
threads = 2

[source.files]
path = "input"
max_files_per_epoch = 1
poll_interval = "20ms"

[parser]
plugin = "parser.wasm"
config = { columns = "number bigint, device string" }
limits = { deadline = "10s" }

[table.numbers]
path = "data/numbers"
"#;

fn json() -> Vec<u8> {
    ComponentSource::Builtin("json".to_owned()).read().unwrap().to_vec()
}

fn project(text: &str) -> tempfile::TempDir {
    crate::binary();
    let project = tempfile::tempdir().unwrap();
    fs::write(project.path().join("pipeline.toml"), text).unwrap();
    fs::create_dir(project.path().join("input")).unwrap();
    fs::write(project.path().join("parser.wasm"), json()).unwrap();
    project
}

/// A file whole under its name at once.
pub(crate) fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let temporary = folder.join(format!(".{}.tmp", name.replace('/', "_")));
    fs::write(&temporary, bytes).unwrap();
    fs::rename(temporary, folder.join(name)).unwrap();
}

/// A host that is killed when the test is done with it.
pub(crate) struct Host(Child);

impl Host {
    pub(crate) fn start(folder: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = weir(folder, &["run", "pipeline.toml", "--progress", "none", "--log", "info"]);
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until the answer is what is waited for.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Stopwatch::start();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status and the body of an answer; none if nobody listens.
fn ask(port: u16, request: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // A server that has seen enough may close before it has read all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nhost: weir\r\n\r\n"), &[])
}

fn post(port: u16, path: &str, token: &str, body: &[u8]) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    );
    ask(port, &head, body).unwrap()
}

/// The parser that a host has, by its own account.
fn parser(port: u16) -> Option<Value> {
    let plugins: Value = serde_json::from_str(&get(port, "/plugins")?.1).ok()?;
    let found = plugins["plugins"].as_array()?.iter().find(|plugin| plugin["step"] == "parser");
    found.cloned()
}

fn has_digest(port: u16, component: &[u8]) -> Option<Value> {
    parser(port).filter(|parser| parser["sha256"] == Digest::of(component).to_string().as_str())
}

fn count(folder: &Path) -> Option<usize> {
    let output = weir(folder, &["table", "show", "data/numbers", "--json", "--limit", "1000000"]).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).lines().count())
}

#[test]
fn host_is_asked_and_told_over_http_by_whoever_may() {
    let port = free_port();
    let serve = format!("[serve]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"${{file:token}}\"\n");
    let project = project(&format!("{PIPELINE}\n{serve}"));
    let folder = project.path();
    fs::write(folder.join("token"), TOKEN).unwrap();
    let host = Host::start(folder);
    until("a host that is ready", || get(port, "/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(get(port, "/healthz").unwrap(), (200, "ok\n".to_owned()));

    let (old, new) = (json(), another(&json(), 1));
    let before = has_digest(port, &old).unwrap();
    assert_eq!((&before["role"], &before["sinceEpoch"]), (&"parser".into(), &0.into()), "{before}");

    // Who may not change anything does not.
    assert_eq!(post(port, "/plugins/parser/swap", "a-guess-that-is-wrong", &new).0, 401);
    assert_eq!(ask(port, "POST /reload HTTP/1.1\r\nhost: weir\r\ncontent-length: 0\r\n\r\n", &[]).unwrap().0, 401);
    assert_eq!(
        ask(port, "POST /plugins/parser/rollback HTTP/1.1\r\nhost: weir\r\ncontent-length: 0\r\n\r\n", &[]).unwrap().0,
        401
    );
    // What there is not, is not there.
    for path in ["/", "/../pipeline.toml", "/plugins/../../token", "/%2e%2e/token", "/plugins/parser"] {
        assert_eq!(get(port, path).unwrap().0, 404, "{path}");
    }
    assert_eq!(get(port, "/progress?last=x").unwrap().0, 400);
    // Too much is too much, however it comes.
    let announced = format!(
        "POST /plugins/parser/swap HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 99999999999\r\n\r\n"
    );
    assert_eq!(ask(port, &announced, b"x").unwrap().0, 413);
    let header = format!("GET /healthz HTTP/1.1\r\nhost: weir\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(ask(port, &header, &[]).is_none_or(|(status, _)| status == 431 || status == 400));

    // What cannot have the step is refused with its reason.
    let (status, said) = post(port, "/plugins/parser/swap", TOKEN, &new[..new.len() / 2]);
    assert!(status == 422 && said.contains("not a usable WebAssembly component"), "{status} {said}");
    let (status, said) = post(port, "/plugins/window.none/swap", TOKEN, &new);
    assert!(status == 422 && said.contains("there is no step `window.none`"), "{status} {said}");
    let (status, said) = post(port, &format!("/plugins/parser/swap?sha256={}", Digest::of(b"x")), TOKEN, &new);
    assert!(status == 422 && said.contains("was announced"), "{status} {said}");
    assert_eq!(post(port, "/plugins/parser/swap?sha256=x", TOKEN, &new).0, 400);
    let (status, said) = post(port, "/plugins/parser/rollback", TOKEN, &[]);
    assert!(status == 422 && said.contains("no such earlier version"), "{status} {said}");
    has_digest(port, &old).expect("the old one goes on");

    // The rest is done.
    put(folder, "input/1.json", readings::files(1, 10)[0].1.as_bytes());
    until("an epoch", || (count(folder) == Some(10)).then_some(()));
    let (status, said) = post(port, &format!("/plugins/parser/swap?sha256={}", Digest::of(&new)), TOKEN, &new);
    assert!(status == 200 && said.contains("took-over"), "{status} {said}");
    let after = has_digest(port, &new).unwrap();
    assert_eq!((&after["sinceEpoch"], &after["probationLeft"]), (&1.into(), &10.into()), "{after}");
    assert_eq!(after["inPlaceOf"], Digest::of(&old).to_string().as_str());
    assert_eq!(post(port, "/plugins/parser/swap", TOKEN, &new).0, 422, "it has the step already");
    put(folder, "input/2.json", readings::files(2, 10)[1].1.as_bytes());
    until("another epoch", || (count(folder) == Some(20)).then_some(()));
    let progress: Value = serde_json::from_str(&get(port, "/progress?last=1").unwrap().1).unwrap();
    assert_eq!(progress[0]["plugins"][0]["sha256"], Digest::of(&new).to_string().as_str(), "{progress}");
    let metrics = get(port, "/metrics").unwrap().1;
    for line in [
        "weir_rows_total 20",
        "weir_swaps_total{step=\"parser\",outcome=\"took-over\"} 1",
        &format!("sha256=\"{}\"", Digest::of(&new)),
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    host.kill();

    // The version outlives the process, and so does the one that it replaced.
    let host = Host::start(folder);
    until("the new version after a restart", || has_digest(port, &new));
    let listed = succeed(folder, &["plugin", "versions", "pipeline.toml"]);
    assert!(listed.contains("parser") && listed.contains("replaced") && listed.contains("in place of"), "{listed}");
    let said = succeed(folder, &["plugin", "rollback", "pipeline.toml", "parser"]);
    assert!(said.contains("took over"), "{said}");
    until("the old version", || has_digest(port, &old).filter(|parser| parser["inPlaceOf"].is_null()));
    put(folder, "third.wasm", &another(&json(), 3));
    let arguments = ["plugin", "swap", "pipeline.toml", "parser", "third.wasm", "--shadow", "1", "--probation", "2"];
    let trial = weir(folder, &arguments).stdout(Stdio::piped()).spawn().unwrap();
    // A trial takes an epoch, and an epoch takes something to read.
    let mut more = 3..;
    let third = another(&json(), 3);
    until("the version on trial", || {
        let number = more.next()?;
        put(folder, &format!("input/{number}.json"), readings::files(1, 10)[0].1.as_bytes());
        std::thread::sleep(Duration::from_millis(300));
        has_digest(port, &third)
    });
    let said = text(&trial.wait_with_output().unwrap());
    assert!(said.contains("took over") && said.contains("\"sameRows\": 10"), "{said}");
    let refused = fail(folder, &["plugin", "swap", "pipeline.toml", "parser", "builtin:statistics"], 2);
    assert!(refused.contains("cannot be a parser"), "{refused}");
    host.kill();
    let gone = fail(folder, &["plugin", "versions", "pipeline.toml"], 3);
    assert!(gone.contains("is the pipeline running?"), "{gone}");

    // Nobody was told the token.
    let printed = [fs::read_to_string(folder.join("log")).unwrap(), metrics, listed, said, refused, gone].concat();
    assert!(!printed.contains(TOKEN));
    for entry in walkdir::WalkDir::new(folder.join("data")).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{}", entry.path().display());
        }
    }
}

#[test]
fn file_that_changes_takes_over_and_one_that_is_bad_stays_out_across_restarts() {
    let port = free_port();
    let text = PIPELINE.replace("limits = {", "watch = true\nlimits = {");
    let project = project(&format!("{text}\n[serve]\nlisten = \"127.0.0.1:{port}\"\n"));
    let folder = project.path();
    let host = Host::start(folder);
    until("a host", || has_digest(port, &json()));
    put(folder, "input/1.json", readings::files(1, 10)[0].1.as_bytes());
    until("an epoch", || (count(folder) == Some(10)).then_some(()));
    let good = another(&json(), 1);
    put(folder, "parser.wasm", &good);
    let parser = until("the version in the file", || has_digest(port, &good));
    assert!(parser["inPlaceOf"].is_null(), "{parser}");
    // Half of a component is refused; the file names it all the same.
    let bad = &good[..good.len() / 2];
    put(folder, "parser.wasm", bad);
    let place = Digest::of(bad).to_string();
    until("the refusal", || has_digest(port, &good).filter(|parser| parser["inPlaceOf"] == place.as_str()));
    put(folder, "input/2.json", readings::files(2, 10)[1].1.as_bytes());
    until("an epoch with the good one", || (count(folder) == Some(20)).then_some(()));
    host.kill();
    // A restart would fail with it, but for the version that has its place.
    let host = Host::start(folder);
    until("the good version after a restart", || has_digest(port, &good));
    let better = another(&json(), 2);
    put(folder, "parser.wasm", &better);
    until("the mended file", || has_digest(port, &better).filter(|parser| parser["inPlaceOf"].is_null()));
    // Without a token nothing can be changed otherwise.
    assert_eq!(post(port, "/plugins/parser/rollback", TOKEN, &[]).0, 403);
    host.kill();
    let log = fs::read_to_string(folder.join("log")).unwrap();
    assert!(log.contains("was refused") && log.contains("took over"), "{log}");
}

#[test]
fn pipeline_file_that_is_read_again_on_a_signal_changes_components_and_configurations() {
    let port = free_port();
    let text = format!("{PIPELINE}\n[serve]\nlisten = \"127.0.0.1:{port}\"\n");
    let project = project(&text);
    let folder = project.path();
    let host = Host::start(folder);
    until("a host", || has_digest(port, &json()));
    let other = another(&json(), 1);
    put(folder, "other.wasm", &other);
    put(folder, "pipeline.toml", text.replace("parser.wasm", "other.wasm").as_bytes());
    host.signal("HUP");
    until("the component that the file names now", || has_digest(port, &other));
    // A file with a mistake changes nothing, and says so.
    put(folder, "pipeline.toml", text.replace("[parser]", "[pasrer]").as_bytes());
    host.signal("HUP");
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    until("the reason", || log().contains("pasrer").then_some(()));
    has_digest(port, &other).expect("what runs goes on");
    put(
        folder,
        "pipeline.toml",
        text.replace("number bigint, device string", "number double, device string").as_bytes(),
    );
    host.signal("HUP");
    until("the reason", || log().contains("does not fit the pipeline").then_some(()));
    has_digest(port, &other).expect("what runs goes on");
    host.kill();
}

/// The progress of the last epochs has this digest in it: a record has it, too.
fn is_recorded(port: u16, component: &[u8]) -> Option<()> {
    let progress: Value = serde_json::from_str(&get(port, "/progress?last=1")?.1).ok()?;
    (progress[0]["plugins"][0]["sha256"] == Digest::of(component).to_string().as_str()).then_some(())
}

#[test]
fn what_was_decided_while_nothing_came_outlives_a_kill() {
    let port = free_port();
    let project = project(&format!("{PIPELINE}\n[serve]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n"));
    let folder = project.path();
    put(folder, "input/1.json", readings::files(1, 10)[0].1.as_bytes());
    let host = Host::start(folder);
    until("an epoch", || (count(folder) == Some(10)).then_some(()));
    let [second, third] = [2, 3].map(|number| another(&json(), number));
    for component in [&second, &third] {
        let (status, said) = post(port, "/plugins/parser/swap", TOKEN, component);
        assert_eq!(status, 200, "{said}");
    }
    until("a record of it", || is_recorded(port, &third));
    let parser = has_digest(port, &third).unwrap();
    assert_eq!(parser["probationLeft"], 10, "an epoch of nothing proves nothing: {parser}");
    host.kill();
    let host = Host::start(folder);
    until("the third version", || has_digest(port, &third));
    // The second one made no row, and can be had back all the same.
    let (status, said) = post(port, "/plugins/parser/rollback", TOKEN, &[]);
    assert_eq!(status, 200, "{said}");
    until("a record of it", || is_recorded(port, &second));
    // What cannot be used is told as what it is, and does not keep a restart away.
    put(folder, "parser.wasm", b"garbage");
    host.signal("HUP");
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    until("the refusal", || log().contains("was refused").then_some(()));
    assert!(log().contains("not a usable WebAssembly component") && !log().contains("CPU time"), "{}", log());
    std::thread::sleep(Duration::from_millis(500));
    host.kill();
    let host = Host::start(folder);
    until("the second version", || has_digest(port, &second));
    host.kill();
}

#[test]
fn reload_makes_of_a_step_what_the_file_says_and_pins_are_about_the_file() {
    let port = free_port();
    let text = format!("{PIPELINE}\n[serve]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n");
    let other = another(&json(), 1);
    let pinned = |name: &str, component: &[u8]| {
        let plugin = format!("plugin = \"{name}\"\nsha256 = \"{}\"", Digest::of(component));
        text.replace("plugin = \"parser.wasm\"", &plugin)
    };
    let project = project(&pinned("parser.wasm", &json()));
    let folder = project.path();
    put(folder, "other.wasm", &other);
    put(folder, "input/1.json", readings::files(1, 10)[0].1.as_bytes());
    let host = Host::start(folder);
    until("an epoch", || (count(folder) == Some(10)).then_some(()));
    // The pin of before is forgotten, and then mended.
    put(folder, "pipeline.toml", pinned("other.wasm", &json()).as_bytes());
    host.signal("HUP");
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    until("the refusal", || log().contains("is pinned: restore the file or change").then_some(()));
    put(folder, "pipeline.toml", pinned("other.wasm", &other).as_bytes());
    host.signal("HUP");
    until("what the file names", || has_digest(port, &other));
    let said = succeed(folder, &["plugin", "rollback", "pipeline.toml", "parser"]);
    assert!(said.contains("took over"), "{said}");
    until("a record of it", || is_recorded(port, &json()));
    host.kill();
    let host = Host::start(folder);
    let parser = until("the one that was rolled back to", || has_digest(port, &json()));
    assert_eq!(parser["inPlaceOf"], Digest::of(&other).to_string().as_str(), "{parser}");
    // Asked for again, and with nothing else to do, the file is taken at its word.
    host.signal("HUP");
    until("what the file names", || has_digest(port, &other).filter(|parser| parser["inPlaceOf"].is_null()));
    host.kill();
}

#[test]
fn process_ends_at_once_although_a_component_cannot_be_read_to_its_end() {
    let project = project(&PIPELINE.replace("limits = {", "watch = true\nlimits = {"));
    let folder = project.path();
    put(folder, "input/1.json", readings::files(1, 10)[0].1.as_bytes());
    let mut host = Host::start(folder);
    until("an epoch", || (count(folder) == Some(10)).then_some(()));
    fs::remove_file(folder.join("parser.wasm")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("parser.wasm")).status().unwrap().success());
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    until("the refusal", || log().contains("it is no file").then_some(()));
    host.signal("INT");
    until("the end of the process", || host.0.try_wait().unwrap());
}

/// Kills and swaps in one test, unless `WEIR_TEST_KILLS` says otherwise.
const KILLS: u64 = 25;

#[tokio::test]
async fn kill_during_swaps_leaves_one_version_in_force_and_loses_and_doubles_nothing() {
    let kills = number("WEIR_TEST_KILLS").unwrap_or(KILLS);
    let seed = number("WEIR_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = Random(seed);
    let project = project(&PIPELINE.replace("limits = {", "watch = true\nprobation = \"2 epochs\"\nlimits = {"));
    let folder = project.path();
    let files = readings::files(usize::try_from(kills).unwrap() * 4, 25);
    let versions: Vec<Vec<u8>> =
        (0..=kills).map(|number| another(&json(), u8::try_from(number % 250).unwrap())).collect();
    let mut waiting = files.chunks(4);
    for number in 0..kills {
        let host = Host::start(folder);
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        put(folder, "parser.wasm", &versions[usize::try_from(number).unwrap()]);
        for (name, text) in waiting.next().unwrap_or_default() {
            put(folder, &format!("input/{name}"), text.as_bytes());
        }
        // Long enough for a change to be seen, and then at any instant of the swap.
        std::thread::sleep(Duration::from_micros(random.below(900_000)));
        host.kill();
    }
    let last = versions.last().unwrap();
    put(folder, "parser.wasm", last);
    let text_of = fs::read_to_string(folder.join("pipeline.toml")).unwrap();
    put(folder, "pipeline.toml", text_of.replace("threads = 2", "threads = 2\ntrigger = \"available-now\"").as_bytes());
    put(folder, "input/zz.json", b"[{\"number\": -1, \"device\": \"z\"}]");
    succeed(folder, &["run", "pipeline.toml"]);

    let table = Location::Local(folder.join("data/numbers"));
    let numbers = sorted_integers(&Env::system(), &table, "number").await;
    let expected: Vec<i64> = (-1..i64::try_from(files.len() * 25).unwrap()).collect();
    assert!(numbers == expected, "seed {seed}: {} rows, {} expected", numbers.len(), expected.len());
    // Each epoch names one version, and none comes back.
    let order = |digest: &str| versions.iter().position(|version| Digest::of(version).to_string() == digest);
    let history = succeed(folder, &["table", "history", "data/numbers", "--json", "--limit", "100000"]);
    let mut made: Vec<(u64, String)> = Vec::new();
    for line in history.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let origin = &entry["info"]["weir"];
        let plugins = origin["plugins"].as_array().map_or(&[][..], Vec::as_slice);
        if let [parser] = plugins {
            made.push((origin["epoch"].as_u64().unwrap(), parser["sha256"].as_str().unwrap().to_owned()));
        }
    }
    made.sort_unstable();
    assert!(made.len() > 4, "seed {seed}: {history}");
    let base = Digest::of(&json()).to_string();
    let places: Vec<usize> = made
        .iter()
        .map(|(_, digest)| if *digest == base { 0 } else { order(digest).map_or(usize::MAX, |at| at + 1) })
        .collect();
    assert!(places.is_sorted() && places.last() == Some(&versions.len()), "seed {seed}: {places:?}");
    let output = weir(folder, &["check", "pipeline.toml"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// How often each step is swapped before the first look and until the last.
#[cfg(target_os = "linux")]
const SWAPS: std::ops::Range<u8> = 4..20;

/// What may come and go with the load of an instant.
#[cfg(target_os = "linux")]
const MORE_RESIDENT_KIB: u64 = 64 << 10;

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat_over_a_hundred_swaps_under_full_load() {
    // Windows close all the time.
    let text = FULL_LOAD.replace("\"5m\"", "\"1s\"").replace("= 5000", "= 2000\nthreads = 2");
    let port = free_port();
    let project = project(&format!("{text}\n[serve]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n"));
    let host = Host::start(project.path());
    until("a host that is ready", || get(port, "/readyz").filter(|(status, _)| *status == 200));
    let resident_kib = || status_kib(&host.0.id().to_string(), "VmRSS").unwrap();
    let components = STEPS.map(|(_, name)| ComponentSource::Builtin(name.to_owned()).read().unwrap());
    let mut looks = Vec::new();
    for number in 0..SWAPS.end {
        if number >= SWAPS.start {
            looks.push(resident_kib());
        }
        for ((step, _), component) in STEPS.iter().zip(&components) {
            let (status, said) =
                post(port, &format!("/plugins/{step}/swap?probation=1"), TOKEN, &another(component, number));
            assert_eq!(status, 200, "{step}, version {number}: {said}");
        }
    }
    looks.push(resident_kib());
    let log = fs::read_to_string(project.path().join("log")).unwrap();
    assert!(looks.last().unwrap() < &(looks[0] + MORE_RESIDENT_KIB), "KiB: {looks:?}: {log}");
    let epochs = parser(port).unwrap()["sinceEpoch"].as_u64().unwrap();
    assert!(epochs > u64::from(SWAPS.end), "the stream went on: {epochs} epochs");
}
