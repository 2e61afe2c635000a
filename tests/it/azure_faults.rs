//! The epoch protocol on Azurite instead of a store in memory: operations that
//! break, answers that are lost on the way, hosts that take one another's place.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use weir::env::{Location, PutIfAbsent};
use weir_tests::azurite::{ACCOUNT, Azurite, CONTAINER};
use weir_tests::faults::Fault;
use weir_tests::hosts::{env, integers, numbered, put_input, run};
use weir_tests::lossy::{Loss, Lossy};
use weir_tests::readings;

use crate::crashes::{self, Steps};
use crate::rivals;

/// A run makes some hundred operations; each fault is tried at every eleventh, at
/// others than its neighbours.
const EVERY: u64 = 11;

async fn check(fault: Fault, first: u64) {
    let azurite = Azurite::shared().await;
    crashes::check(fault, Steps { first, every: EVERY }, || azurite.folder().store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_operations_on_azurite_loses_and_doubles_nothing() {
    check(Fault::CrashBefore, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_operations_on_azurite_loses_and_doubles_nothing() {
    check(Fault::CrashAfter, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_of_operations_on_azurite_lose_and_double_nothing() {
    check(Fault::AnswerLost, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_operations_on_azurite_lose_and_double_nothing() {
    check(Fault::FailsOnce, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_by_azurite_loses_and_doubles_nothing() {
    check(Fault::Throttled, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_conflicts_of_creations_on_azurite_lose_and_double_nothing() {
    check(Fault::ConflictBefore, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_on_azurite_that_conflict_with_their_own_first_try_lose_and_double_nothing() {
    check(Fault::ConflictAfter, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn object_that_many_create_at_once_on_azurite_is_created_by_one() {
    let folder = Azurite::shared().await.folder();
    let location = Location::parse("memory:///objects", std::path::Path::new("")).unwrap();
    let storage = env(folder.store).storage(&location).unwrap();
    for round in 0..20 {
        let name = format!("{round:020}.json");
        let puts = (0..8).map(|who| storage.put_if_absent(&name, format!("{who}").into()));
        let puts: Vec<PutIfAbsent> = join_all(puts).await.into_iter().map(|put| put.unwrap()).collect();
        let winners: Vec<usize> = (0..8).filter(|who| puts[*who] == PutIfAbsent::Created).collect();
        assert_eq!(winners.len(), 1, "round {round}: {puts:?}");
        let held = storage.get(&name).await.unwrap().unwrap();
        assert_eq!(held, winners[0].to_string(), "round {round}");
    }
    assert_eq!(storage.list("").await.unwrap().len(), 20);
    storage.delete("00000000000000000000.json").await.unwrap();
    storage.delete("00000000000000000000.json").await.unwrap();
    assert_eq!(storage.get("00000000000000000000.json").await.unwrap(), None);
}

/// The client tries again what it heard no answer to, also what must happen once:
/// its second try meets the object of its first.
async fn check_lost_creations(loss: Loss) {
    const FILES: usize = 4;
    let azurite = Azurite::shared().await;
    let folder = azurite.folder();
    put_input(&folder.store, readings::files(FILES, 3)).await;
    let [_, (_, origin)] = azurite.environment();
    let address = origin.strip_prefix("http://").unwrap().to_owned();
    let lossy = Lossy::to(address, loss, |head| head.starts_with("put ") && head.contains("if-none-match: *")).await;
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(1), max_backoff: Duration::from_millis(5), base: 2.0 };
    let retry = RetryConfig { backoff, ..RetryConfig::default() };
    let endpoint = format!("{}/{ACCOUNT}", lossy.origin());
    let store = azurite.store_at(&endpoint, CONTAINER, retry);
    let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store, folder.name.as_str()));
    let summary = run(store, rivals::PIPELINE).await.unwrap();
    assert_eq!(summary.epochs, FILES as u64);
    assert_eq!(integers(&folder.store, "memory:///numbers", "number").await, numbered(FILES * 3));
    // One for the pipeline and for each table, and two in each epoch.
    assert!(lossy.lost() > 2 * FILES, "{} answers were lost", lossy.lost());
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_whose_connection_closes_before_the_answer_is_recognised_as_ones_own() {
    check_lost_creations(Loss::Closes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_that_is_answered_503_though_it_happened_is_recognised_as_ones_own() {
    check_lost_creations(Loss::Unavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_on_one_checkpoint_on_azurite_lose_and_double_nothing() {
    let azurite = Azurite::shared().await;
    rivals::check(3, 8, || azurite.folder().store).await;
}
