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

/// A thread of its own.
#[derive(Debug)]
#[must_use = "a thread that is not joined hides its failure"]
pub struct Thread<T>(JoinHandle<T>);

/// Start a thread that is to go on whenever it can, such as one that receives or
/// keeps time.
///
/// # Errors
/// Unavailable if the system has no thread to give.
pub fn thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<Thread<T>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    let thread =
        thread.map_err(|error| Error::unavailable(format!("cannot start the thread {name}")).because(error))?;
    Ok(Thread(thread))
}

/// Start a thread for long computation, such as running plugins. It gives way to
/// all other threads of this process: what receives and answers takes little, and
/// everybody waits for it.
///
/// # Errors
/// Unavailable if the system has no thread to give.
pub fn worker<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<Thread<T>> {
    thread(name, || {
        give_way();
        work()
    })
}

/// How much nicer a worker is than the process, of setpriority(2): it has a third of
/// what another thread gets, where both want the same core.
#[cfg(target_os = "linux")]
const WORKER_NICENESS: i32 = 5;

/// Lower the priority of this thread. Only Linux has one for each thread; a system
/// that refuses leaves it as it is.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::nice(WORKER_NICENESS);
}

impl<T> Thread<T> {
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
    thread(name, move || runtime.block_on(work())).map(drop)
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{WORKER_NICENESS, thread, worker};

    #[test]
    fn a_worker_gives_way_to_other_threads() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let of_thread = thread("plain", niceness).unwrap().join().unwrap();
        let of_worker = worker("nice", niceness).unwrap().join().unwrap();
        assert_eq!(of_thread, niceness());
        assert_eq!(of_worker, (of_thread + WORKER_NICENESS).min(19));
    }
}
