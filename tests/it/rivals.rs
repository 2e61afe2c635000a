//! Two hosts on one checkpoint: one goes on, the other learns it and stops.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use weir::ErrorKind;
use weir::env::Location;
use weir_tests::readings;
use weir_tests::tables::sorted_integers;

use crate::crashes::{env, run};

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
        for (name, text) in readings::files(12, 3) {
            store.put(&ObjectPath::from(format!("input/{name}")), text.into()).await.unwrap();
        }
        let host = || run(Arc::clone(&store) as Arc<dyn ObjectStore>, PIPELINE);
        let (one, other) = tokio::join!(host(), host());
        let results = [one, other];
        for result in &results {
            let fenced = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced);
            assert!(result.is_ok() || fenced, "round {round}: {result:?}");
        }
        assert!(results.iter().any(Result::is_ok), "round {round}: one of them finishes: {results:?}");
        let location = Location::parse("memory:///numbers", std::path::Path::new("")).unwrap();
        let numbers = sorted_integers(&env(Arc::clone(&store) as _), &location, "number").await;
        assert_eq!(numbers, (0..36).collect::<Vec<i64>>(), "round {round}");
    }
}
