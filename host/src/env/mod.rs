//! The only place with ambient time, randomness, environment and threads.
//!
//! Everything else receives an [`Env`], so that a test can hold the clock, name
//! the attempts and put faults into any store.

#![expect(clippy::disallowed_methods, reason = "this is where ambient things come in")]

mod azure;
mod back_off;
mod clock;
mod location;
mod s3;
mod storage;
mod threads;

use std::path::PathBuf;
use std::sync::Arc;

pub use back_off::back_off;
pub use clock::{Clock, CpuStopwatch, ManualClock, Stopwatch, SystemClock, age_of, micros_of, touch};
pub use location::Location;
pub use storage::{OpenStore, PutIfAbsent, Storage, SystemStores};
pub use threads::{Task, Thread, available_cores, blocking, detached, solitary, solitary_task, task, thread, worker};

use crate::model::AttemptId;

/// The file of this program, also where another has got its name since: the two may
/// not be of one version.
fn this_program() -> Option<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && own.exists() { Some(own) } else { std::env::current_exe().ok() }
}

/// What a pipeline takes from the world around it.
#[derive(Clone)]
pub struct Env {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to object stores.
    pub stores: Arc<dyn OpenStore>,
    /// This program, for work that is done in a process of its own; none if it is
    /// not the `weir` command.
    pub program: Option<PathBuf>,
}

impl Env {
    /// The world as it is.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), stores: Arc::new(SystemStores::default()), program: None }
    }

    /// The world as it is for the `weir` command.
    pub fn command() -> Self {
        Self { program: this_program(), ..Self::system() }
    }

    /// A name for an attempt that no other host or run ever uses.
    pub fn new_attempt(&self) -> AttemptId {
        AttemptId::new(unique_name())
    }

    /// A unique name, for example of a pipeline.
    pub fn new_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    /// The storage at a location.
    ///
    /// # Errors
    /// Config if the location cannot be understood, Unavailable if a local
    /// folder cannot be made.
    pub fn storage(&self, location: &Location) -> crate::Result<Storage> {
        Storage::open(location, self.stores.as_ref())
    }
}

/// A name that nobody else has, of digits and letters.
pub fn unique_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// What this machine calls itself, as far as it fits into a name.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(MAX_HOST_NAME_CHARS).collect()
}

/// A longer name is cut.
const MAX_HOST_NAME_CHARS: usize = 40;

/// The value of an environment variable, if it is set and is text.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The folder for files that can be made again, for example compiled plugins.
///
/// `WEIR_CACHE_DIR`, else `weir` in the user's cache folder (XDG Base Directory
/// Specification), else in the system's folder for temporary files.
pub fn cache_dir() -> std::path::PathBuf {
    if let Some(dir) = std::env::var_os("WEIR_CACHE_DIR") {
        return dir.into();
    }
    let user = std::env::var_os("XDG_CACHE_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".cache")));
    user.unwrap_or_else(std::env::temp_dir).join("weir")
}
