//! Damaged and foreign objects in a checkpoint: refused by name, never used.

use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use weir::ErrorKind;
use weir_tests::hosts::{integers, numbered, put_input, run};
use weir_tests::intercept::objects;
use weir_tests::readings;

/// Enough epochs for a segment of the source's state and records behind it.
const EPOCHS: usize = 68;

const PIPELINE: &str = r#"
[pipeline]
name = "damage"
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

/// A store in which a pipeline has read so many files.
async fn after_a_run(files: usize, text: &str) -> InMemory {
    let store = Arc::new(InMemory::new());
    put_input(&store, readings::files(files, 1)).await;
    run(Arc::clone(&store) as _, text).await.unwrap();
    store.fork()
}

fn record(epoch: usize) -> String {
    format!("checkpoint/main/epochs/{epoch:020}.json")
}

async fn bytes_of(store: &InMemory, object: &str) -> Vec<u8> {
    store.get(&ObjectPath::from(object)).await.unwrap().bytes().await.unwrap().to_vec()
}

/// The objects that a recovery reads: whose checkpoint it is, the newest record,
/// one behind the last segment, and the segment.
async fn needed(store: &InMemory) -> [String; 4] {
    let names: Vec<String> = objects(store).await.iter().map(ToString::to_string).collect();
    let segment = names.iter().find(|name| name.starts_with("checkpoint/main/state/")).expect("there is a segment");
    ["checkpoint/pipeline.json".to_owned(), record(EPOCHS - 1), record(EPOCHS - 2), segment.clone()]
}

/// With other bytes in an object, a run refuses it by name and changes nothing.
async fn assert_refused(sound: &InMemory, object: &str, bytes: Vec<u8>, what: &str) {
    let store = Arc::new(sound.fork());
    store.put(&ObjectPath::from(object), bytes.into()).await.unwrap();
    put_input(&store, [("new.json".to_owned(), "[{\"number\": 1000}]".to_owned())]).await;
    let error = run(Arc::clone(&store) as _, PIPELINE).await.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{object}, {what}: {error}");
    let name = object.rsplit('/').next().unwrap_or_default();
    assert!(error.to_string().contains(name), "{object}, {what}: {error}");
    assert!(!integers(&store, "memory:///numbers", "number").await.contains(&1000), "{object}, {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bit_anywhere_in_a_needed_object_is_refused_by_name() {
    let store = after_a_run(EPOCHS, PIPELINE).await;
    for object in needed(&store).await {
        let sound = bytes_of(&store, &object).await;
        for at in (0..sound.len()).step_by(11) {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            assert_refused(&store, &object, damaged, &format!("bit flipped in byte {at}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn needed_object_that_is_cut_or_overlong_is_refused_by_name() {
    let store = after_a_run(EPOCHS, PIPELINE).await;
    for object in needed(&store).await {
        let sound = bytes_of(&store, &object).await;
        for end in (0..sound.len()).step_by(23).chain([sound.len() - 1]) {
            assert_refused(&store, &object, sound[..end].to_vec(), &format!("cut at {end}")).await;
        }
        for more in [&b"\n"[..], b"\0", &sound] {
            assert_refused(&store, &object, [&sound, more].concat(), "something was appended").await;
        }
        assert_refused(&store, &object, vec![0; sound.len()], "all zero, as after a loss of power").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn needed_object_that_is_missing_is_refused_by_name_or_noticed_by_the_tables() {
    let sound = after_a_run(EPOCHS, PIPELINE).await;
    let [_, newest, older, segment] = needed(&sound).await;
    for (object, expected) in [(&newest, "old copy"), (&older, older.as_str()), (&segment, segment.as_str())] {
        let store = Arc::new(sound.fork());
        store.delete(&ObjectPath::from(object.as_str())).await.unwrap();
        let error = run(Arc::clone(&store) as _, PIPELINE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{object}: {error}");
        let expected = expected.rsplit('/').next().unwrap_or_default();
        assert!(error.to_string().contains(expected), "{object}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_object_of_another_place_is_refused_by_name() {
    let store = after_a_run(EPOCHS, PIPELINE).await;
    let other = after_a_run(EPOCHS, PIPELINE).await;
    let objects = needed(&store).await;
    for object in &objects {
        for from in &objects {
            if from != object {
                assert_refused(&store, object, bytes_of(&store, from).await, &format!("it is {from}")).await;
            }
        }
    }
    for epoch in [EPOCHS - 1, EPOCHS - 2] {
        let foreign = bytes_of(&other, &record(epoch)).await;
        assert_refused(&store, &record(epoch), foreign, "it is of another pipeline of the same name").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_objects_among_the_records_are_refused_by_name() {
    let store = after_a_run(EPOCHS, PIPELINE).await;
    let newest = bytes_of(&store, &record(EPOCHS - 1)).await;
    let huge = format!("{}.json", u64::MAX);
    let names = [
        "notes.txt",
        "1.json",
        "00000000000000000001.json.bak",
        &huge,
        "0000000000000000000x.json",
        "+0000000000000000001.json",
    ];
    for name in names.map(|name| format!("checkpoint/main/epochs/{name}")) {
        assert_refused(&store, &name, b"notes".to_vec(), "a foreign object").await;
        assert_refused(&store, &name, newest.clone(), "the copy of a record").await;
    }
    assert_refused(&store, &record(EPOCHS), newest, "a record behind the newest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_with_its_objects_restored_goes_on() {
    let sound = after_a_run(EPOCHS, PIPELINE).await;
    let store = Arc::new(sound.fork());
    for object in needed(&sound).await {
        let path = ObjectPath::from(object.as_str());
        store.put(&path, "damaged".into()).await.unwrap();
        run(Arc::clone(&store) as _, PIPELINE).await.unwrap_err();
        store.put(&path, bytes_of(&sound, &object).await.into()).await.unwrap();
    }
    assert_eq!(run(Arc::clone(&store) as _, PIPELINE).await.unwrap().epochs, 0);
    assert_eq!(integers(&store, "memory:///numbers", "number").await, numbered(EPOCHS));
}
