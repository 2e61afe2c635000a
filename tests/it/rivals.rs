//! Two hosts on one checkpoint: one goes on, the other learns it and stops.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use weir::ErrorKind;
use weir_tests::hosts::{integers, numbered, put_input, run};
use weir_tests::readings;

const PIPELINE: &str = r#"
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

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_at_once_lose_and_double_nothing() {
    for round in 0..10 {
        let store = Arc::new(InMemory::new());
        put_input(&store, readings::files(12, 3)).await;
        let host = || run(Arc::clone(&store) as Arc<dyn ObjectStore>, PIPELINE);
        let (one, other) = tokio::join!(host(), host());
        let results = [one, other];
        for result in &results {
            let fenced = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced);
            assert!(result.is_ok() || fenced, "round {round}: {result:?}");
        }
        assert!(results.iter().any(Result::is_ok), "round {round}: one of them finishes: {results:?}");
        assert_eq!(integers(&store, "memory:///numbers", "number").await, numbered(36), "round {round}");
    }
}
