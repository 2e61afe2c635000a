//! Two hosts on one checkpoint: one goes on, the other learns it and stops.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use weir::ErrorKind;
use weir_tests::hosts::{integers, numbered, put_input, run};
use weir_tests::readings;

pub(crate) const PIPELINE: &str = r#"
[pipeline]
name = "rivals"
checkpoint = "memory:///checkpoint"
trigger = "available-now"
threads = 1

[source.files]
path = "memory:///input"
max_files_per_epoch = 1

[parser]
plugin = "builtin:json"
config = { columns = "number bigint" }

[table.numbers]
path = "memory:///numbers"
"#;

/// Two hosts read so many files at once, in so many rounds, each with a store of its
/// own.
pub(crate) async fn check<S: ObjectStore>(rounds: usize, files: usize, store: impl Fn() -> Arc<S>) {
    for round in 0..rounds {
        let store = store();
        put_input(&store, readings::files(files, 3)).await;
        let host = || run(Arc::clone(&store) as Arc<dyn ObjectStore>, PIPELINE);
        let (one, other) = tokio::join!(host(), host());
        let results = [one, other];
        for result in &results {
            let fenced = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced);
            assert!(result.is_ok() || fenced, "round {round}: {result:?}");
        }
        assert!(results.iter().any(Result::is_ok), "round {round}: one of them finishes: {results:?}");
        assert_eq!(integers(&store, "memory:///numbers", "number").await, numbered(files * 3), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_at_once_lose_and_double_nothing() {
    check(10, 12, || Arc::new(InMemory::new())).await;
}
