//! Threads for work that would hold up the async threads, and tasks that work
//! beside others.

#![expect(clippy::disallowed_methods, reason = "this is where threads are started")]

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::{Error, Result};

/// How many cores this process may use.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Run short blocking work, such as a file operation, off the async threads.
///
/// # Errors
/// Bug if the work panics; what the work returns otherwise.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::bug("work panicked").because(panic))?
}

/// A thread of its own for long work.
#[derive(Debug)]
#[must_use = "a worker that is not joined hides its failure"]
pub struct Worker<T>(JoinHandle<T>);

/// Start a thread for long work, such as running plugins.
///
/// # Errors
/// Unavailable if the system has no thread to give.
pub fn worker<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<Worker<T>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    let thread =
        thread.map_err(|error| Error::unavailable(format!("cannot start the thread {name}")).because(error))?;
    Ok(Worker(thread))
}

impl<T> Worker<T> {
    /// Wait for the end of the thread. Blocks.
    ///
    /// # Errors
    /// Bug if the thread panicked.
    pub fn join(self) -> Result<T> {
        let name = self.0.thread().name().unwrap_or("unnamed").to_owned();
        self.0.join().map_err(|_| Error::bug(format!("the thread {name} panicked")))
    }
}

/// Start a thread with an async runtime that has no other thread, for as long as
/// the work takes. Of several tasks in it one runs at a time.
///
/// # Errors
/// Unavailable if the system has no thread or no runtime to give.
pub fn solitary<F: Future<Output = ()>>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::unavailable(format!("cannot start {name}")).because(error))?;
    worker(name, move || runtime.block_on(work())).map(drop)
}

/// Start a task that nobody waits for, such as listening for signals.
pub fn detached(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// A task that ends when this is dropped.
#[derive(Debug)]
#[must_use = "a task ends when its handle is dropped"]
pub struct Task(Running);

/// Where a task runs, and what ends it.
#[derive(Debug)]
enum Running {
    /// Among others.
    Shared(tokio::task::AbortHandle),
    /// On a thread of its own, as long as this is there.
    Solitary { _alive: oneshot::Sender<()> },
}

/// Start a task that works beside others, such as receiving, for as long as
/// somebody holds it.
pub fn task(task: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(Running::Shared(tokio::spawn(task).abort_handle()))
}

/// The same on a thread of its own, as [`solitary`] starts it.
///
/// # Errors
/// As [`solitary`].
pub fn solitary_task<F: Future<Output = ()>>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<Task> {
    let (alive, ended) = oneshot::channel();
    solitary(name, move || async move {
        tokio::select! {
            () = work() => {}
            _dropped = ended => {}
        }
    })?;
    Ok(Task(Running::Solitary { _alive: alive }))
}

impl Drop for Task {
    fn drop(&mut self) {
        match &self.0 {
            Running::Shared(task) => task.abort(),
            Running::Solitary { .. } => {}
        }
    }
}
