//! Hosts in this process, on stores of the tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::watch;
use weir::config::{Pipeline, PipelineFile, SystemSurroundings};
use weir::env::{Clock, Env, Location, OpenStore, SystemClock};
use weir::pipeline::{Silent, Summary};

use crate::tables::sorted_integers;

/// The clock of the system, except that nobody waits before trying again.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImpatientClock;

impl Clock for ImpatientClock {
    fn now_us(&self) -> i64 {
        SystemClock.now_us()
    }

    fn back_off(&self, _time: Duration) -> BoxFuture<'static, ()> {
        tokio::task::yield_now().boxed()
    }
}

/// Opens every location in one store.
pub struct OneStore(pub Arc<dyn ObjectStore>);

impl OpenStore for OneStore {
    fn open(&self, location: &Location) -> weir::Result<(Arc<dyn ObjectStore>, ObjectPath)> {
        let Location::Remote(url) = location else {
            return Err(weir::Error::config(format!("{location} is not in the store of the tests")));
        };
        let path =
            ObjectPath::from_url_path(url.path()).map_err(|error| weir::Error::config("not a path").because(error))?;
        Ok((Arc::clone(&self.0), path))
    }
}

/// The world of a host whose every location is in one store.
pub fn env(store: Arc<dyn ObjectStore>) -> Env {
    Env { clock: Arc::new(ImpatientClock), stores: Arc::new(OneStore(store)), ..Env::system() }
}

/// A pipeline file that must be sound.
///
/// # Panics
/// If it is not, with its problems.
#[track_caller]
pub fn parse(text: &str) -> (Pipeline, PipelineFile) {
    let parsed = weir::config::parse(text.as_bytes(), Path::new("pipeline.toml"), &[], &SystemSurroundings);
    parsed.unwrap_or_else(|problems| panic!("{problems}"))
}

/// Run a pipeline on one store until its trigger ends it.
///
/// # Errors
/// What the run fails with.
pub async fn run(store: Arc<dyn ObjectStore>, text: &str) -> weir::Result<Summary> {
    run_in(&env(store), text).await
}

/// Run a pipeline until its trigger ends it.
///
/// # Errors
/// What the run fails with.
pub async fn run_in(env: &Env, text: &str) -> weir::Result<Summary> {
    let (pipeline, file) = parse(text);
    let (_stop, shutdown) = watch::channel(false);
    weir::pipeline::run(&pipeline, &file, env, shutdown, &mut Silent).await
}

/// Put files into the folder `input`.
///
/// # Panics
/// If the store fails, which one in memory does not.
pub async fn put_input(store: &impl ObjectStore, files: impl IntoIterator<Item = (String, String)>) {
    for (name, text) in files {
        let path = ObjectPath::from(format!("input/{name}"));
        store.put(&path, text.into()).await.expect("the store works");
    }
}

/// The values of an integer column of the table at a URL, in ascending order.
///
/// # Panics
/// If the table cannot be read.
pub async fn integers(store: &Arc<impl ObjectStore>, url: &str, column: &str) -> Vec<i64> {
    let location = Location::parse(url, Path::new("")).expect("the location is sound");
    sorted_integers(&env(Arc::clone(store) as _), &location, column).await
}

/// The numbers of so many readings, as they are in a table that has each once.
pub fn numbered(readings: usize) -> Vec<i64> {
    (0..).take(readings).collect()
}
