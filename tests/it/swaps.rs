//! Plugins are swapped while the stream runs: whenever somebody asks, the tables are
//! as if nobody had, and each epoch has one version of each step.

use std::sync::Arc;

use serde_json::Value;
use weir::ErrorKind;
use weir::model::Digest;
use weir::pipeline::{Ask, Swap, SwapEvent, SwapOutcome, SwapSender};
use weir::plugin::ComponentSource;
use weir_tests::fixture;
use weir_tests::hosts::parse;
use weir_tests::streams::{HEAD, Stream};
use weir_tests::swapping::{AskingStore, another, run_swapping};

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

fn endless(text: &str) -> String {
    text.replace("available-now", "asap")
}

fn builtin(name: &str) -> Vec<u8> {
    ComponentSource::Builtin(name.to_owned()).read().unwrap().to_vec()
}

fn swap_of(step: &str, component: Vec<u8>) -> Swap {
    let component = ComponentSource::Bytes(format!("another {step}"), component.into());
    Swap { step: step.to_owned(), component, sha256: None, shadow: None, probation: None, is_named: false }
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
    let undisturbed = {
        let mut whole = stream.fork();
        whole.put(LAST).await;
        whole.run(&text).await;
        tables(&whole.store).await
    };
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
                // All there is was read before the operation came.
                _ = seen.wait_for(|rows| *rows >= ROWS - LAST.len() as u64) => {
                    is_over = !asking.was_reached();
                    asking.ask();
                    told.await
                }
            };
            run.put(LAST).await;
            (event.unwrap().unwrap().remove(0), is_over)
        })
        .await;
        let (epochs, (event, is_over)) = ran.unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(event.outcome, SwapOutcome::TookOver, "{when}");
        assert_eq!(tables(&store).await, undisturbed, "{when}");
        assert_versions(&epochs, step, &event, &when);
        if is_over {
            assert!(at > 60, "a run makes more than {at} operations");
            return;
        }
        at += STRIDE;
    }
}

/// Neighbouring operations are alike, and each run takes a while.
const STRIDE: u64 = 3;

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
    let undisturbed = {
        let mut whole = stream.fork();
        whole.put(LAST).await;
        whole.run(text).await;
        tables(&whole.store).await
    };
    let store = Arc::clone(&stream.store);
    let (epochs, error) = run_swapping(Arc::clone(&store) as _, &endless(text), ROWS, async |sender, _| {
        let error = sender.ask(ask).await.expect_err(reason);
        stream.put(LAST).await;
        error
    })
    .await
    .unwrap_or_else(|error| panic!("{reason}: {error}"));
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
    let undisturbed = {
        let mut whole = stream.fork();
        whole.put(LAST).await;
        whole.run(&honest).await;
        tables(&whole.store).await
    };
    let store = Arc::clone(&stream.store);
    let (epochs, event) =
        run_swapping(Arc::clone(&store) as _, &endless(&honest), ROWS, async |sender: SwapSender, _| {
            let event = sender.ask(reload(other)).await.unwrap_or_else(|error| panic!("{reason}: {error}")).remove(0);
            stream.put(LAST).await;
            event
        })
        .await
        .unwrap_or_else(|error| panic!("{reason}: {error}"));
    assert_eq!(event.outcome, SwapOutcome::TookOver, "{reason}");
    assert_eq!(tables(&store).await, undisturbed, "{reason}");
    let told: Vec<&Value> = epochs.iter().filter_map(|epoch| epoch["swaps"].as_array()).flatten().collect();
    let back = told.iter().find(|event| event["outcome"] == "rolled-back");
    let back = back.unwrap_or_else(|| panic!("{reason}: {told:?}"));
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
async fn run_that_has_ended_refuses_what_is_asked() {
    let stream = Stream::of(&FILES).await;
    let (_, sender) =
        run_swapping(Arc::clone(&stream.store) as _, &endless(&format!("{HEAD}{STEPS}")), 1, async |sender, _| sender)
            .await
            .unwrap();
    let error = sender.ask(Ask::RollBack { step: "parser".into(), to: None }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
