//! Plugins are swapped while the stream runs: whenever somebody asks, the tables are
//! as if nobody had, and each epoch has one version of each step.

use std::fs;
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::Value;
use weir::ErrorKind;
use weir::model::Digest;
use weir::pipeline::{Ask, PluginStanding, Standing, Swap, SwapEvent, SwapOutcome, SwapSender};
use weir::plugin::ComponentSource;
use weir_tests::fixture;
use weir_tests::hosts::parse;
use weir_tests::streams::{HEAD, Stream, rows};
use weir_tests::swapping::{AskingStore, STEPS as PLUGINS, another, run_swapping};

use crate::stateful_crashes::{FILES, STEPS, tables};

const TRANSFORM: &str = r#"
[[transform]]
name = "same"
plugin = "builtin:identity"
"#;

/// A file that comes when a swap is over: it closes windows and raises alerts.
const LAST: &[&str] = &["a 10:20:00 11 40", "b 10:20:00 12 20", "a 10:20:10 13 41"];

/// The rows of all files, one that comes twice and is left out included.
const ROWS: u64 = 15;

/// The pipeline without an end, which looks for files all the time.
fn endless(text: &str) -> String {
    let text = text.replace("available-now", "asap");
    text.replace("max_files_per_epoch = 1", "max_files_per_epoch = 1\npoll_interval = \"5ms\"")
}

fn builtin(name: &str) -> Vec<u8> {
    ComponentSource::Builtin(name.to_owned()).read().unwrap().to_vec()
}

fn swap_of(step: &str, component: Vec<u8>) -> Swap {
    let component = ComponentSource::Bytes(format!("another {step}"), component.into());
    Swap { step: step.to_owned(), component, sha256: None, shadow: None, probation: None, is_named: false }
}

/// The tables of a run over all files that nobody disturbs.
async fn undisturbed(stream: &Stream, text: &str) -> Vec<Vec<String>> {
    let mut whole = stream.fork();
    whole.put(LAST).await;
    whole.run(text).await;
    tables(&whole.store).await
}

/// Every epoch has the versions that were in force when it began.
fn assert_versions(epochs: &[Value], step: &str, event: &SwapEvent, when: &str) {
    let after = event.to.as_ref().map(|to| to.sha256.to_string());
    for epoch in epochs {
        let plugins = epoch["plugins"].as_array().unwrap();
        let found = plugins.iter().find(|plugin| plugin["step"] == step).unwrap();
        let number = epoch["batchId"].as_u64().unwrap();
        let is_new = number >= event.epoch.number();
        let expected = if is_new { after.clone().unwrap() } else { event.from.sha256.to_string() };
        assert_eq!(found["sha256"], expected.as_str(), "epoch {number}, {when}");
    }
}

/// Swaps a step at each operation of a run in turn.
async fn check_every_point(step: &str, component: &str) {
    let text = format!("{HEAD}{TRANSFORM}{STEPS}");
    let stream = Stream::of(&FILES).await;
    let undisturbed = undisturbed(&stream, &text).await;
    let other = another(&builtin(component), 1);
    let mut at = 0;
    loop {
        let mut run = stream.fork();
        let store = Arc::clone(&run.store);
        let asking = AskingStore::asking(Arc::clone(&store), at);
        let when = format!("{step} swapped at operation {at}");
        let ran = run_swapping(Arc::clone(&asking) as _, &endless(&text), ROWS, async |sender, mut seen| {
            let mut told = asking.prepare(sender, Ask::Swap(swap_of(step, other.clone())));
            let mut is_over = false;
            let event = tokio::select! {
                told = &mut told => told,
                // All there is was read before the operation came. (What is waited for is
                // locked as long as it is held, and the run has more to tell.)
                () = seen.wait_for(|rows| *rows >= ROWS - LAST.len() as u64).map(drop) => {
                    is_over = !asking.was_reached();
                    asking.ask();
                    told.await
                }
            };
            run.put(LAST).await;
            (event.unwrap().unwrap().remove(0), is_over)
        })
        .await;
        let (epochs, (event, is_over)) = ran.expect(&when);
        assert_eq!(event.outcome, SwapOutcome::TookOver, "{when}");
        assert_eq!(tables(&store).await, undisturbed, "{when}");
        assert_versions(&epochs, step, &event, &when);
        if is_over {
            assert!(at > 60, "a run makes more than {at} operations");
            return;
        }
        at += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parser_is_swapped_at_any_point_of_an_epoch() {
    check_every_point("parser", "json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transform_is_swapped_at_any_point_of_an_epoch() {
    check_every_point("transform.same", "identity").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregator_is_swapped_with_its_state_at_any_point_of_an_epoch() {
    check_every_point("window.sums", "statistics").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_without_memory_is_swapped_at_any_point_of_an_epoch() {
    check_every_point("rule.hot", "thresholds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_with_memory_is_swapped_with_its_state_at_any_point_of_an_epoch() {
    check_every_point("rule.often", "consecutive").await;
}

/// Runs the files, with a request between the last two that must be refused with this
/// reason; the tables are as if nobody had asked.
async fn refused(text: &str, ask: Ask, reason: &str) {
    let mut stream = Stream::of(&FILES).await;
    let undisturbed = undisturbed(&stream, text).await;
    let store = Arc::clone(&stream.store);
    let (epochs, error) = run_swapping(Arc::clone(&store) as _, &endless(text), ROWS, async |sender, _| {
        let error = sender.ask(ask).await.expect_err(reason);
        stream.put(LAST).await;
        error
    })
    .await
    .expect(reason);
    assert!(error.to_string().contains(reason), "{reason}: {error}");
    assert_eq!(tables(&store).await, undisturbed, "{reason}");
    let digests: std::collections::BTreeSet<String> =
        epochs.iter().flat_map(|epoch| epoch["plugins"].as_array().unwrap()).map(|plugin| plugin.to_string()).collect();
    assert!(digests.len() >= 5, "{reason}: {digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn component_that_cannot_have_the_step_is_refused_with_its_reason_and_changes_nothing() {
    let text = format!("{HEAD}{TRANSFORM}{STEPS}");
    let json = builtin("json");
    let truncated = json[..json.len() / 2].to_vec();
    let mut damaged = json.clone();
    damaged[100..200].fill(0xff);
    let announced = Swap { sha256: Some(Digest::of(b"another")), ..swap_of("parser", another(&json, 2)) };
    let huge = vec![0; 65 << 20];
    let cases: Vec<(Swap, &str)> = vec![
        (swap_of("parser", truncated), "is not a usable WebAssembly component"),
        (swap_of("parser", damaged), ""),
        (swap_of("parser", b"no component".to_vec()), "is not a usable WebAssembly component"),
        (swap_of("parser", builtin("statistics")), "cannot be a parser"),
        (swap_of("window.sums", builtin("thresholds")), "cannot be an aggregator"),
        (swap_of("rule.often", builtin("thresholds")), "config"),
        (swap_of("window.none", json.clone()), "there is no step `window.none`"),
        (swap_of("parser", json.clone()), "that is what runs already"),
        (announced, "was announced"),
        (swap_of("parser", huge), "more than the 67108864 allowed"),
    ];
    for (swap, reason) in cases {
        refused(&text, Ask::Swap(swap), reason).await;
    }
}

/// A pipeline whose steps are all of the hostile plugin, but for the parser.
fn hostile(transform: &str, window: &str, hot: &str, often: &str) -> String {
    let plugin = fixture("hostile.wasm");
    let plugin = plugin.display();
    format!(
        r#"{HEAD}
[[transform]]
name = "same"
plugin = "{plugin}"
config = {{ {transform} }}

[event_time]
column = "event_time"
delay = "1m"

[window.sums]
size = "5m"
key = ["device"]
plugin = "{plugin}"
config = {{ {window} }}
limits = {{ deadline = "200ms" }}

[window.sums.table]
path = "memory:///sums"

[rule.hot]
plugin = "{plugin}"
config = {{ {hot} }}
limits = {{ deadline = "200ms" }}

[rule.hot.table]
path = "memory:///hot"
columns = ["device", "number", "alert.message as message"]

[rule.often]
key = ["device"]
plugin = "{plugin}"
config = {{ keyed = true, {often} }}
limits = {{ deadline = "200ms" }}

[rule.often.table]
path = "memory:///often"
columns = ["device", "number", "alert.message as message"]
"#
    )
}

const HONEST: &str = "mode = \"behave\"";

fn reload(text: &str) -> Ask {
    Ask::Reload(Box::new(parse(&endless(text))))
}

#[tokio::test(flavor = "multi_thread")]
async fn version_that_fails_before_it_takes_over_is_refused_with_its_reason() {
    let honest = hostile(HONEST, HONEST, HONEST, HONEST);
    let mode = |mode: &str| format!("mode = \"{mode}\"");
    for (other, reason) in [
        (hostile(HONEST, &mode("trap-in-configure"), HONEST, HONEST), "trapped in configure"),
        (hostile(HONEST, &mode("loop-in-configure"), HONEST, HONEST), "deadline"),
        (hostile(HONEST, HONEST, &mode("problem-in-configure"), HONEST), "refused, as configured"),
        (hostile(&mode("trap-in-configure"), HONEST, HONEST, HONEST), "trapped in configure"),
        (hostile(HONEST, HONEST, HONEST, &mode("trap-in-restore")), "cannot take its kept state over"),
        (hostile(HONEST, &mode("error-in-restore"), HONEST, HONEST), "cannot take its kept state over"),
        (
            hostile(HONEST, HONEST, HONEST, &format!("{HONEST}, keyed = false")).replacen("keyed = true, ", "", 1),
            "keeps state",
        ),
        (honest.replace("temperature double, ", ""), "does not fit the pipeline"),
        (honest.replace("number bigint, ", "number double, "), "number"),
        (format!("{honest}\n[[transform]]\nname = \"more\"\nplugin = \"builtin:identity\""), "other steps"),
    ] {
        refused(&honest, reload(&other), reason).await;
    }
}

/// Lets a version take over that fails in the next epoch, which is given up and run
/// again with the old one.
async fn rolled_back(other: &str, reason: &str) {
    let honest = hostile(HONEST, HONEST, HONEST, HONEST);
    let mut stream = Stream::of(&FILES).await;
    let undisturbed = undisturbed(&stream, &honest).await;
    let store = Arc::clone(&stream.store);
    let (epochs, event) =
        run_swapping(Arc::clone(&store) as _, &endless(&honest), ROWS, async |sender: SwapSender, _| {
            let event = sender.ask(reload(other)).await.expect(reason).remove(0);
            stream.put(LAST).await;
            event
        })
        .await
        .expect(reason);
    assert_eq!(event.outcome, SwapOutcome::TookOver, "{reason}");
    assert_eq!(tables(&store).await, undisturbed, "{reason}");
    let told: Vec<&Value> = epochs.iter().filter_map(|epoch| epoch["swaps"].as_array()).flatten().collect();
    let back = told.iter().find(|event| event["outcome"] == "rolled-back");
    let back = back.expect(reason);
    assert!(back["reason"].as_str().unwrap().contains(reason), "{reason}: {back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_that_fails_on_probation_is_rolled_back_and_its_epoch_run_again() {
    let mode = |mode: &str| format!("mode = \"{mode}\", poison = 13");
    for (other, reason) in [
        (hostile("mode = \"trap\", when = \"b\"", HONEST, HONEST, HONEST), "trapped"),
        (hostile(HONEST, &mode("trap"), HONEST, HONEST), "trapped"),
        (hostile(HONEST, &mode("loop"), HONEST, HONEST), "deadline"),
        (hostile(HONEST, &mode("error"), HONEST, HONEST), "failed, as configured"),
        (hostile(HONEST, &mode("trap-in-evaluate"), HONEST, HONEST), "trapped"),
        (hostile(HONEST, &mode("trap-in-snapshot"), HONEST, HONEST), "trapped"),
        (hostile(HONEST, &mode("trap-in-release"), HONEST, HONEST), "trapped"),
        (hostile(HONEST, HONEST, &mode("trap"), HONEST), "trapped"),
        (hostile(HONEST, HONEST, HONEST, &mode("trap")), "trapped"),
        (hostile(HONEST, HONEST, HONEST, &mode("trap-in-snapshot")), "trapped"),
        (hostile(HONEST, HONEST, &mode("alert-out-of-range"), HONEST), "row"),
    ] {
        rolled_back(&other, reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_on_probation_at_the_same_time_go_back_together() {
    let honest = hostile(HONEST, HONEST, HONEST, HONEST);
    let other = hostile(HONEST, "mode = \"trap\", poison = 13", HONEST, HONEST);
    let mut stream = Stream::of(&FILES).await;
    let undisturbed = undisturbed(&stream, &honest).await;
    let store = Arc::clone(&stream.store);
    let component = fs::read(fixture("hostile.wasm")).unwrap();
    let (epochs, ()) = run_swapping(Arc::clone(&store) as _, &endless(&honest), ROWS, async |sender: SwapSender, _| {
        for ask in [reload(&other), Ask::Swap(swap_of("rule.hot", another(&component, 9)))] {
            let event = sender.ask(ask).await.unwrap().remove(0);
            assert_eq!(event.outcome, SwapOutcome::TookOver);
        }
        stream.put(LAST).await;
    })
    .await
    .unwrap();
    assert_eq!(tables(&store).await, undisturbed);
    let told: Vec<&Value> = epochs.iter().filter_map(|epoch| epoch["swaps"].as_array()).flatten().collect();
    let back = told.iter().filter(|event| event["outcome"] == "rolled-back");
    let mut steps: Vec<&str> = back.map(|event| event["step"].as_str().unwrap()).collect();
    steps.sort_unstable();
    assert_eq!(steps.len(), 2, "{told:?}");
    assert!(steps[0] == "rule.hot" && steps[1] != "rule.hot", "{steps:?}");
}

/// Waits until the run stands so.
async fn stands<T>(sender: &SwapSender, mut so: impl FnMut(&Standing) -> Option<T>) -> T {
    let mut watched = sender.clone();
    loop {
        if let Some(found) = so(&watched.standing()) {
            return found;
        }
        watched.moved().await.unwrap();
    }
}

fn standing<'a>(run: &'a Standing, step: &str) -> Option<&'a PluginStanding> {
    run.plugins.iter().find(|plugin| plugin.identity.step == step)
}

fn roll_back(step: &str) -> Ask {
    Ask::RollBack { step: step.to_owned(), to: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_ends_a_trial_whoever_waits_and_changes_nothing_else() {
    let text = format!("{HEAD}{TRANSFORM}{STEPS}");
    let stream = Stream::of(&FILES).await;
    run_swapping(Arc::clone(&stream.store) as _, &endless(&text), ROWS - 3, async |sender: SwapSender, mut seen| {
        let json = builtin("json");
        let swap = |number, shadow| Ask::Swap(Swap { shadow, ..swap_of("parser", another(&json, number)) });
        let many = sender.ask(swap(1, Some(4_000_000_000))).await.unwrap_err();
        assert!(many.to_string().contains("at most 100000 epochs"), "{many}");
        let first = sender.ask(swap(2, None)).await.unwrap().remove(0);
        let trial = sender.ask(swap(1, Some(1000)));
        let others = async {
            seen.wait_for(|rows| *rows >= ROWS - LAST.len() as u64).await.unwrap();
            let left = stands(&sender, |run| standing(run, "parser")?.trial.as_ref().map(|trial| trial.left)).await;
            assert_eq!(left, 1000);
            let other = another(&builtin("thresholds"), 3);
            let gone = sender.ask(Ask::Swap(swap_of("rule.hot", other.clone()))).now_or_never();
            assert!(gone.is_none(), "nothing joins a trial");
            let waits = sender.ask(Ask::Swap(swap_of("rule.hot", builtin("thresholds"))));
            let rollback = async {
                // The other asks before this.
                tokio::task::yield_now().await;
                sender.ask(roll_back("parser")).await.unwrap().remove(0)
            };
            let (waited, ended) = tokio::join!(waits, rollback);
            assert!(waited.unwrap_err().to_string().contains("that is what runs already"));
            assert_eq!((ended.outcome, ended.sha256), (SwapOutcome::Refused, Some(Digest::of(&another(&json, 1)))));
            let run = sender.standing();
            assert_eq!(standing(&run, "parser").unwrap().identity, first.to.clone().unwrap(), "it goes on");
            assert_ne!(standing(&run, "rule.hot").unwrap().identity.sha256, Digest::of(&other), "nobody waited for it");
            // Now it is what runs that goes back.
            let back = sender.ask(roll_back("parser")).await.unwrap().remove(0);
            assert_eq!((back.outcome, back.sha256), (SwapOutcome::TookOver, Some(Digest::of(&json))));
        };
        let (tried, ()) = tokio::join!(trial, others);
        assert!(tried.unwrap_err().to_string().contains("a rollback ended its trial"));
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_goes_before_what_is_made_ready() {
    let text = format!("{HEAD}{TRANSFORM}{STEPS}");
    let stream = Stream::of(&FILES).await;
    run_swapping(Arc::clone(&stream.store) as _, &endless(&text), ROWS - 3, async |sender: SwapSender, _| {
        let json = builtin("json");
        sender.ask(Ask::Swap(swap_of("parser", another(&json, 1)))).await.unwrap();
        let next = sender.ask(Ask::Swap(swap_of("parser", another(&json, 2))));
        let (made, back) = tokio::join!(next, sender.ask(roll_back("parser")));
        assert!(made.unwrap_err().to_string().contains("a rollback went before it"));
        let back = back.unwrap().remove(0);
        assert_eq!((back.outcome, back.sha256), (SwapOutcome::TookOver, Some(Digest::of(&json))));
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn version_that_failed_is_not_gone_back_to_and_a_record_says_so() {
    const STEP: &str = "transform.same";
    let first = fs::read(fixture("hostile.wasm")).unwrap();
    let (second, third) = (another(&first, 2), another(&first, 3));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("third.wasm");
    fs::write(&file, &third).unwrap();
    let honest = hostile(HONEST, HONEST, HONEST, HONEST);
    let other = hostile("mode = \"trap\", when = \"b\"", HONEST, HONEST, HONEST);
    let other = other.replacen(&fixture("hostile.wasm").display().to_string(), &file.display().to_string(), 1);
    let has = |component: &[u8]| {
        let digest = Digest::of(component);
        move |run: &Standing| (standing(run, STEP)?.identity.sha256 == digest).then_some(())
    };
    let mut stream = Stream::of(&FILES).await;
    let store = Arc::clone(&stream.store);
    run_swapping(Arc::clone(&store) as _, &endless(&honest), ROWS + 1, async |sender, mut seen| {
        seen.wait_for(|rows| *rows >= ROWS - LAST.len() as u64).await.unwrap();
        let trusted = Swap { probation: Some(0), ..swap_of(STEP, second.clone()) };
        sender.ask(Ask::Swap(trusted)).await.unwrap();
        sender.ask(reload(&other)).await.unwrap();
        // An epoch is of the third version before it fails.
        stream.put(&["a 10:14:00 100 20"]).await;
        seen.wait_for(|rows| *rows > ROWS - LAST.len() as u64).await.unwrap();
        stream.put(LAST).await;
        stands(&sender, has(&second)).await;
        seen.wait_for(|rows| *rows > ROWS).await.unwrap();
        let back = sender.ask(roll_back(STEP)).await.unwrap().remove(0);
        assert_eq!((back.outcome, back.sha256), (SwapOutcome::TookOver, Some(Digest::of(&first))));
        stream.put(&["a 10:21:00 101 20"]).await;
        seen.wait_for(|rows| *rows > ROWS + 1).await.unwrap();
    })
    .await
    .unwrap();
    stream.put(&["a 10:22:00 102 20"]).await;
    run_swapping(Arc::clone(&store) as _, &endless(&honest), 1, async |sender, _| {
        stands(&sender, has(&first)).await;
        let run = sender.standing();
        let replaced = standing(&run, STEP).unwrap().replaced.iter().map(|one| (one.sha256, one.failed));
        assert_eq!(replaced.collect::<Vec<_>>(), [(Digest::of(&second), false), (Digest::of(&third), true)]);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_has_ended_refuses_what_is_asked() {
    let stream = Stream::of(&FILES).await;
    let (_, sender) =
        run_swapping(Arc::clone(&stream.store) as _, &endless(&format!("{HEAD}{STEPS}")), 1, async |sender, _| sender)
            .await
            .unwrap();
    let error = sender.ask(Ask::RollBack { step: "parser".into(), to: None }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_on_trial_has_no_effect_and_its_differences_are_told() {
    let text = format!("{HEAD}{TRANSFORM}{STEPS}")
        .replace("kind = \"HOT\" }] }", "kind = \"HOT\" }] }\nshadow = \"2 epochs\"");
    let other = text.replace("above = 30.0, kind = \"HOT\"", "above = 33.0, kind = \"HOT\"");
    let mut stream = Stream::of(&FILES).await;
    let store = Arc::clone(&stream.store);
    let (epochs, event) = run_swapping(Arc::clone(&store) as _, &endless(&text), ROWS, async |sender, mut seen| {
        seen.wait_for(|rows| *rows >= ROWS - LAST.len() as u64).await.unwrap();
        let told = sender.ask(reload(&other));
        // Each file is an epoch with a row that only the old version has an alert for.
        let reading = async {
            for number in 100.. {
                stream.put(&[&format!("a 10:13:00 {number} 31")]).await;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let event = tokio::select! {
            told = told => told.unwrap().remove(0),
            () = reading => unreachable!("it goes on until somebody stops it"),
        };
        stream.put(LAST).await;
        let before = *seen.borrow();
        seen.wait_for(|rows| *rows >= before + LAST.len() as u64).await.unwrap();
        event
    })
    .await
    .unwrap();
    assert_eq!((event.outcome, event.step.as_str()), (SwapOutcome::TookOver, "rule.hot"));
    let trial = event.trial.as_ref().unwrap();
    assert_eq!(trial.epochs, 2, "{trial:?}");
    let differ: Vec<&str> = trial.tables.keys().map(String::as_str).collect();
    assert_eq!(differ, ["rule.hot"], "{trial:?}");
    let hot = &trial.tables["rule.hot"];
    assert!(hot.only_old == 2 && hot.only_new == 0 && hot.samples_old.len() == 2, "{hot:?}");
    assert!(trial.same_rows >= 2 && trial.rejected_new == 0, "{trial:?}");
    assert_versions(&epochs, "rule.hot", &event, "a trial");
    // The old version had its say until then.
    let alerts = rows(&store, "hot", "device number").await;
    assert!(alerts.contains(&"a 100".to_owned()) && alerts.contains(&"a 13".to_owned()), "{alerts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_that_fails_on_trial_is_refused_and_had_no_effect() {
    let honest = hostile(HONEST, HONEST, HONEST, HONEST).replace("[rule.hot]\n", "[rule.hot]\nshadow = \"1 epoch\"\n");
    let other = honest.replace(
        &format!("config = {{ {HONEST} }}\nlimits = {{ deadline = \"200ms\" }}\n\n[rule.hot.table]"),
        "config = { mode = \"trap\", poison = 13 }\nlimits = { deadline = \"200ms\" }\n\n[rule.hot.table]",
    );
    assert_ne!(honest, other);
    let mut stream = Stream::of(&FILES).await;
    let undisturbed = undisturbed(&stream, &honest).await;
    let store = Arc::clone(&stream.store);
    let (_, error) = run_swapping(Arc::clone(&store) as _, &endless(&honest), ROWS, async |sender, mut seen| {
        seen.wait_for(|rows| *rows >= ROWS - 3).await.unwrap();
        let told = sender.ask(reload(&other));
        let put = async {
            // The trial begins long before this is read: nothing else is.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            stream.put(LAST).await;
        };
        tokio::join!(told, put).0.unwrap_err()
    })
    .await
    .unwrap();
    assert!(error.to_string().contains("it failed on trial"), "{error}");
    assert_eq!(tables(&store).await, undisturbed);
}

/// Puts this file again and again until the version on trial is refused; why.
async fn refused_on_trial(text: &str, other: &str, file: &str) -> String {
    assert_ne!(text, other);
    let mut stream = Stream::of(&FILES).await;
    let store = Arc::clone(&stream.store);
    let (_, error) = run_swapping(store as _, &endless(text), ROWS - 3, async |sender, _| {
        let reading = async {
            loop {
                stream.put_json(file).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            told = sender.ask(reload(other)) => told.unwrap_err().to_string(),
            () = reading => unreachable!("it goes on until somebody stops it"),
        }
    })
    .await
    .unwrap();
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn version_on_trial_is_judged_as_on_probation() {
    let trial = "shadow = \"1000 epochs\"\nprobation = \"0 epochs\"";
    // Another instance can do it, and nothing is lost: it has failed all the same.
    let honest = hostile(HONEST, HONEST, HONEST, HONEST);
    let honest = honest.replace("name = \"same\"", &format!("name = \"same\"\n{trial}"));
    let other = honest.replacen(HONEST, "mode = \"trap-on-call\", count = 2", 1);
    let error = refused_on_trial(&honest, &other, "[{\"device\": \"a\", \"number\": 100}]").await;
    assert!(error.contains("it failed on trial") && error.contains("of its calls failed"), "{error}");

    let text =
        format!("{HEAD}{TRANSFORM}{STEPS}").replace("max_dead_letter_ratio = 1.0", "max_dead_letter_ratio = 0.1");
    let text = text.replace("battery double\" }", &format!("battery double\", on_mismatch = \"null\" }}\n{trial}"));
    let other = text.replace("on_mismatch = \"null\"", "on_mismatch = \"reject\"");
    let error = refused_on_trial(&text, &other, "[{\"device\": \"a\", \"number\": \"many\"}]").await;
    assert!(error.contains("it failed on trial") && error.contains("would become dead letters"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_tries_only_what_it_changes() {
    let text =
        format!("{HEAD}{TRANSFORM}{STEPS}").replace("name = \"same\"", "name = \"same\"\nshadow = \"1000 epochs\"");
    let other = text.replace("above = 30.0, kind = \"HOT\"", "above = 33.0, kind = \"HOT\"");
    assert!(text.contains("1000 epochs") && text != other);
    let stream = Stream::of(&FILES).await;
    run_swapping(Arc::clone(&stream.store) as _, &endless(&text), ROWS - 3, async |sender, _| {
        let event = sender.ask(reload(&other)).await.unwrap().remove(0);
        assert_eq!((event.step.as_str(), event.outcome), ("rule.hot", SwapOutcome::TookOver));
    })
    .await
    .unwrap();
}

/// Readings of a generator, through all roles.
const GENERATED: &str = r#"
[pipeline]
name = "generated"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 2
max_events_per_epoch = 400

[source.generator]
events = 20000
readings_per_message = 1
devices = 50
interval = "20ms"
PACE

[parser]
plugin = "builtin:json"
config = { columns = "deviceId string, ts as event_time timestamp, temperature double" }
limits = { deadline = "10s" }

[[transform]]
name = "same"
plugin = "builtin:identity"
limits = { deadline = "10s" }

[table.rows]
path = "memory:///rows"

[event_time]
column = "event_time"
delay = "10s"

[window.summary]
size = "1m"
key = ["deviceId"]
plugin = "builtin:statistics"
config = { "*" = ["count"], temperature = ["avg", "last"] }
table = { path = "memory:///sums" }
limits = { deadline = "10s" }

[rule.hot]
plugin = "builtin:thresholds"
config = { levels = [{ column = "temperature", above = 37.0, kind = "HOT" }] }
table = { path = "memory:///hot", columns = ["deviceId", "event_time", "alert.message as message"] }
limits = { deadline = "10s" }

[rule.often]
key = ["deviceId"]
plugin = "builtin:consecutive"
config = { column = "temperature", above = 30.0, times = 2, kind = "OFTEN", repeat = true }
table = { path = "memory:///often", columns = ["deviceId", "event_time", "alert.message as message"] }
limits = { deadline = "10s" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn hundred_swaps_in_a_row_lose_and_double_nothing() {
    let undisturbed = Stream::default();
    undisturbed.run(&GENERATED.replace("PACE", "")).await;
    let swapped = Stream::default();
    let text = endless(&GENERATED.replace("PACE", "events_per_second = 2000"));
    let (epochs, swaps) = run_swapping(Arc::clone(&swapped.store) as _, &text, 20_000, async |sender, _| {
        let mut swaps = 0;
        for number in 0..100 {
            let (step, name) = PLUGINS[number % PLUGINS.len()];
            let other = another(&builtin(name), u8::try_from(number).unwrap());
            let events = sender.ask(Ask::Swap(swap_of(step, other))).await;
            let events = events.unwrap_or_else(|error| panic!("swap {number} of {step}: {error}"));
            assert_eq!(events[0].outcome, SwapOutcome::TookOver);
            swaps += 1;
        }
        swaps
    })
    .await
    .unwrap();
    assert_eq!(swaps, 100);
    let versions = |epoch: &Value| {
        epoch["plugins"].as_array().unwrap().iter().map(|one| one["sha256"].to_string()).collect::<Vec<_>>()
    };
    let made: std::collections::BTreeSet<Vec<String>> = epochs.iter().map(versions).collect();
    assert!(made.len() > 3, "the stream went on meanwhile: {} sets of versions", made.len());
    for (table, columns) in [("rows", ""), ("sums", ""), ("hot", ""), ("often", "")] {
        let (expected, found) = (undisturbed.rows(table, columns).await, swapped.rows(table, columns).await);
        assert!(expected.len() > 100, "{table} has {} rows", expected.len());
        assert!(expected == found, "{table}: {} rows, {} expected", found.len(), expected.len());
    }
    assert_eq!(swapped.letters().await, Vec::<String>::new());
}
