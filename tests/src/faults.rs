//! Object stores that break on command, at any operation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use weir::env::{Clock, Location, OpenStore, SystemClock};

/// How the store breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the operation: it and all later ones fail.
    CrashBefore,
    /// The process dies after the operation: it happens, and all later ones fail.
    CrashAfter,
    /// The operation happens, but its answer is lost, once.
    AnswerLost,
    /// The operation fails without effect, once.
    FailsOnce,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::CrashBefore, Self::CrashAfter, Self::AnswerLost, Self::FailsOnce];

    /// Whether the process is dead afterwards.
    pub fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }
}

/// A store in memory that breaks at one operation.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    fault: Fault,
    at: u64,
    next: AtomicU64,
}

/// What becomes of one operation.
enum Fate {
    Works,
    FailsBefore,
    FailsAfter,
}

impl FaultyStore {
    /// A view of `inner` that breaks at operation number `at`, from 0.
    pub fn new(inner: Arc<InMemory>, fault: Fault, at: u64) -> Arc<Self> {
        Arc::new(Self { inner, fault, at, next: AtomicU64::new(0) })
    }

    /// Whether the operation that breaks was reached.
    pub fn was_reached(&self) -> bool {
        self.next.load(Ordering::SeqCst) > self.at
    }

    fn fate(&self) -> Fate {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        match (self.fault, number.cmp(&self.at)) {
            (_, std::cmp::Ordering::Less) => Fate::Works,
            (Fault::CrashBefore, _) => Fate::FailsBefore,
            (Fault::CrashAfter, std::cmp::Ordering::Equal) => Fate::FailsAfter,
            (Fault::CrashAfter, std::cmp::Ordering::Greater) => Fate::FailsBefore,
            (Fault::AnswerLost, std::cmp::Ordering::Equal) => Fate::FailsAfter,
            (Fault::FailsOnce, std::cmp::Ordering::Equal) => Fate::FailsBefore,
            (Fault::AnswerLost | Fault::FailsOnce, std::cmp::Ordering::Greater) => Fate::Works,
        }
    }

    async fn run<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fate() {
            Fate::Works => operation.await,
            Fate::FailsBefore => Err(broken()),
            Fate::FailsAfter => {
                let _lost = operation.await;
                Err(broken())
            }
        }
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "the connection was lost".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store that breaks ({:?} at {})", self.fault, self.at)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.run(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.run(self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(self.inner.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fate() {
            Fate::Works => self.inner.delete_stream(locations),
            Fate::FailsBefore => stream::once(async { Err(broken()) }).boxed(),
            Fate::FailsAfter => self.inner.delete_stream(locations).map(|_| Err(broken())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Works => self.inner.list(prefix),
            Fate::FailsBefore | Fate::FailsAfter => stream::once(async { Err(broken()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.run(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.run(self.inner.rename_opts(from, to, options)).await
    }
}

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
    fn open(&self, location: &Location) -> weir::Result<(Arc<dyn ObjectStore>, Path)> {
        let Location::Remote(url) = location else {
            return Err(weir::Error::config(format!("{location} is not in the store of the tests")));
        };
        let path = Path::from_url_path(url.path()).map_err(|error| weir::Error::config("not a path").because(error))?;
        Ok((Arc::clone(&self.0), path))
    }
}
