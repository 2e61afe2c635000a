//! Azure Blob Storage with errors for people: what to do about a container that
//! is missing or an account that refuses, and no signature in any text.
//!
//! `object_store` hides the address of a request that is signed in its query, but
//! not where it deletes; and it says that an object is missing where it is the
//! container. What callers tell apart (missing, exists, changed) stays as it is.

use std::fmt;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::azure::MicrosoftAzure;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What the store is called in errors.
pub(super) const STORE: &str = "Azure Blob Storage";

/// The parameter of a query that is the signature.
const SECRET: &str = "sig=";

#[derive(Debug)]
pub(super) struct Explained {
    inner: MicrosoftAzure,
    container: String,
}

impl Explained {
    pub(super) fn new(inner: MicrosoftAzure, container: String) -> Self {
        Self { inner, container }
    }

    fn explain(&self, error: Error) -> Error {
        explain(error, &self.container)
    }
}

/// The same error for a container of this name, for people.
pub(super) fn explain(error: Error, container: &str) -> Error {
    let text = error.to_string();
    let remedy = match &error {
        Error::Generic { .. } | Error::NotFound { .. } if text.contains("<Code>ContainerNotFound") => {
            format!("the container `{container}` does not exist: make it, or correct the location")
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => refused(container),
        Error::Generic { .. } if text.contains("403 Forbidden") || text.contains("401 Unauthorized") => {
            refused(container)
        }
        Error::Generic { .. } if text.contains(SECRET) => String::new(),
        _ => return error,
    };
    let separator = if remedy.is_empty() { "" } else { ": " };
    Error::Generic { store: STORE, source: format!("{remedy}{separator}{}", without_signatures(&text)).into() }
}

fn refused(container: &str) -> String {
    format!(
        "the account does not let us into `{container}`: check its key, the permissions and the end of the shared access \
         signature, or the role Storage Blob Data Contributor of the identity"
    )
}

/// The text without the values of signatures.
fn without_signatures(text: &str) -> String {
    let mut parts = text.split(SECRET);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || "%+/=-_.~".contains(c))).unwrap_or(part.len());
        plain.push_str(SECRET);
        plain.push('…');
        plain.push_str(&part[end..]);
    }
    plain
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Explained {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await.map_err(|error| self.explain(error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // Sends nothing yet; what its parts say has no address in it.
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await.map_err(|error| self.explain(error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.explained(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.explained(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.explained(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(|error| self.explain(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(|error| self.explain(error))
    }
}

impl Explained {
    fn explained<T: 'static>(&self, answers: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let container = self.container.clone();
        answers.map(move |answer| answer.map_err(|error| explain(error, &container))).boxed()
    }
}
