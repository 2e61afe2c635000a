//! A store whose every operation can be held, refused or forgotten.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Write an object, whether or not it exists.
    Put,
    /// Write an object unless it exists.
    Create,
    /// Begin an upload in parts, send a part, or complete it.
    Upload,
    /// Read an object or what is known of it.
    Get,
    /// List a folder.
    List,
    /// Delete objects.
    Delete,
    /// Copy or rename an object.
    Copy,
}

impl Operation {
    /// Whether it takes room.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Create | Self::Upload | Self::Copy)
    }
}

/// Stands between a host and its store.
#[async_trait]
pub trait Intercept: fmt::Debug + Send + Sync + 'static {
    /// Called before an operation; an error refuses it. Returns its number.
    async fn before(&self, operation: Operation) -> Result<u64>;

    /// Called when the operation of this number has ended; an error hides from
    /// the host how.
    async fn after(&self, number: u64, operation: Operation) -> Result<()>;

    /// Whether an object that is there is created all the same.
    fn overwrites(&self) -> bool {
        false
    }

    /// The store from which listings answer, if it is not the one that is written.
    fn listed(&self) -> Option<Arc<dyn ObjectStore>> {
        None
    }
}

/// A store with somebody in between.
#[derive(Debug)]
pub struct Intercepted<I> {
    inner: Arc<dyn ObjectStore>,
    /// Who stands in between.
    pub by: Arc<I>,
}

impl<I: Intercept> Intercepted<I> {
    /// A view of `inner`.
    pub fn new(inner: Arc<impl ObjectStore>, by: I) -> Arc<Self> {
        Arc::new(Self { inner, by: Arc::new(by) })
    }

    async fn run<T>(&self, operation: Operation, work: impl Future<Output = Result<T>>) -> Result<T> {
        run(self.by.as_ref(), operation, work).await
    }

    fn listed(&self) -> Arc<dyn ObjectStore> {
        self.by.listed().unwrap_or_else(|| Arc::clone(&self.inner))
    }
}

async fn run<T>(by: &impl Intercept, operation: Operation, work: impl Future<Output = Result<T>>) -> Result<T> {
    let number = by.before(operation).await?;
    let done = work.await;
    by.after(number, operation).await?;
    done
}

impl<I: Intercept> fmt::Display for Intercepted<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store behind {:?}", self.by)
    }
}

#[async_trait]
impl<I: Intercept> ObjectStore for Intercepted<I> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let operation = if options.mode == PutMode::Create { Operation::Create } else { Operation::Put };
        if operation == Operation::Create && self.by.overwrites() {
            options.mode = PutMode::Overwrite;
        }
        self.run(operation, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.run(Operation::Upload, self.inner.put_multipart_opts(location, options)).await?;
        Ok(Box::new(InterceptedUpload { upload, by: Arc::clone(&self.by) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(Operation::Get, self.inner.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, by) = (Arc::clone(&self.inner), Arc::clone(&self.by));
        let work = async move {
            let deleting = async { Ok(inner.delete_stream(locations).collect::<Vec<_>>().await) };
            run(by.as_ref(), Operation::Delete, deleting).await
        };
        stream::once(work).flat_map(each).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (listed, by, prefix) = (self.listed(), Arc::clone(&self.by), prefix.cloned());
        let work = async move {
            let listing = async { Ok(listed.list(prefix.as_ref()).collect::<Vec<_>>().await) };
            run(by.as_ref(), Operation::List, listing).await
        };
        stream::once(work).flat_map(each).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.listed();
        self.run(Operation::List, listed.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(Operation::Copy, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.run(Operation::Copy, self.inner.rename_opts(from, to, options)).await
    }
}

fn each<T: Send + 'static>(answer: Result<Vec<Result<T>>>) -> BoxStream<'static, Result<T>> {
    match answer {
        Ok(items) => stream::iter(items).boxed(),
        Err(error) => stream::iter([Err(error)]).boxed(),
    }
}

#[derive(Debug)]
struct InterceptedUpload<I> {
    upload: Box<dyn MultipartUpload>,
    by: Arc<I>,
}

#[async_trait]
impl<I: Intercept> MultipartUpload for InterceptedUpload<I> {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, by) = (self.upload.put_part(data), Arc::clone(&self.by));
        let sending: BoxFuture<'static, Result<()>> =
            Box::pin(async move { run(by.as_ref(), Operation::Upload, part).await });
        sending
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let by = Arc::clone(&self.by);
        run(by.as_ref(), Operation::Upload, self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        let by = Arc::clone(&self.by);
        run(by.as_ref(), Operation::Delete, self.upload.abort()).await
    }
}

/// All objects of a store, by path.
///
/// # Panics
/// Never: a store in memory does not fail.
pub async fn objects(store: &InMemory) -> Vec<Path> {
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.expect("a store in memory does not fail");
    listed.into_iter().map(|meta| meta.location).collect()
}
