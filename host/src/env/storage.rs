//! Objects below one folder, on any store, with the durability that the epoch
//! protocol stands on.
//!
//! On the local disk `object_store` syncs neither files nor folders, so
//! [`Storage::sync`] does; remote stores are durable when they answer.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use url::Url;

use super::{Location, blocking};
use crate::{Error, Result};

/// The way from a location to its object store.
pub trait OpenStore: Send + Sync {
    /// The store behind a location and the path of the location within it.
    ///
    /// # Errors
    /// Config if the location or its credentials cannot be understood.
    fn open(&self, location: &Location) -> Result<(Arc<dyn ObjectStore>, Path)>;
}

/// The stores of the system: local disk, Azure, S3, and memory for tests.
///
/// Credentials and endpoints come from the environment, see [`super::azure`] and
/// [`super::s3`].
#[derive(Default)]
pub struct SystemStores {
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl OpenStore for SystemStores {
    fn open(&self, location: &Location) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let url = match location {
            Location::Local(path) => {
                let path = Path::from_absolute_path(path)
                    .map_err(|error| Error::config(format!("`{location}` is not a usable path")).because(error))?;
                return Ok((
                    self.shared("file://", || Ok(Arc::new(object_store::local::LocalFileSystem::new())))?,
                    path,
                ));
            }
            Location::Remote(url) => url,
        };
        let path = Path::from_url_path(url.path())
            .map_err(|error| Error::config(format!("`{url}` has an unusable path")).because(error))?;
        let key = url[..url::Position::BeforePath].to_owned();
        let store = self.shared(&key, || remote_store(url))?;
        Ok((store, path))
    }
}

impl SystemStores {
    /// One store an account and container, so that connections are shared and
    /// what is in memory stays.
    fn shared(&self, key: &str, make: impl FnOnce() -> Result<Arc<dyn ObjectStore>>) -> Result<Arc<dyn ObjectStore>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(key) {
            return Ok(Arc::clone(store));
        }
        let store = make()?;
        opened.insert(key.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

fn remote_store(url: &Url) -> Result<Arc<dyn ObjectStore>> {
    if url.scheme() == "memory" {
        return Ok(Arc::new(object_store::memory::InMemory::new()));
    }
    match url.scheme() {
        "s3" | "s3a" => super::s3::open(url, variables()),
        _ => super::azure::open(url, variables()),
    }
}

/// The variables of the environment that are text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Where an object on the local disk is until it has its name; readers of Delta
/// tables pass over names that begin with `_`.
const UNNAMED: &str = "_unnamed";

/// How a put-if-absent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an object that exists already was not written"]
pub enum PutIfAbsent {
    /// The object is there and holds what was given.
    Created,
    /// An object of that name was there before.
    Exists,
}

/// The objects below one folder.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    location: Location,
}

impl Storage {
    /// The storage at a location; a local folder is made when something is put.
    ///
    /// # Errors
    /// Config if the location cannot be understood.
    pub fn open(location: &Location, stores: &dyn OpenStore) -> Result<Self> {
        let (store, prefix) = stores.open(location)?;
        Ok(Self { store, prefix, location: location.clone() })
    }

    /// Where this is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The store itself; paths in it start with [`Storage::prefix`].
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The path of this folder within the store.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The storage of a folder below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self { store: Arc::clone(&self.store), prefix: self.path(name), location: self.location.join(name) }
    }

    /// The path of an object in the store; `name` has `/` between its parts.
    pub fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// The path of an object in the store, in the very spelling that was listed.
    ///
    /// # Errors
    /// Data if it cannot be a path.
    pub fn listed_path(&self, name: &str) -> Result<Path> {
        let prefix = self.prefix.as_ref();
        let whole = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        Path::parse(whole).map_err(|error| Error::data(format!("`{name}` is not the path of a file")).because(error))
    }

    /// Write an object, whether or not it exists.
    ///
    /// # Errors
    /// Unavailable if the store fails; the object may or may not be there then.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.store
            .put(&self.path(name), PutPayload::from_bytes(bytes))
            .await
            .map_err(|error| self.failed("write", name, error))?;
        Ok(())
    }

    /// Write an object unless one of that name exists; atomic.
    ///
    /// # Errors
    /// Unavailable if the store fails; the object may or may not be there then.
    pub async fn put_if_absent(&self, name: &str, bytes: Bytes) -> Result<PutIfAbsent> {
        let put = match &self.location {
            Location::Local(_) => self.put_whole_if_absent(name, bytes).await?,
            Location::Remote(_) => {
                let options = PutMode::Create.into();
                self.store.put_opts(&self.path(name), PutPayload::from_bytes(bytes), options).await.map(|_| ())
            }
        };
        match put {
            Ok(()) => Ok(PutIfAbsent::Created),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(PutIfAbsent::Exists)
            }
            Err(error) => Err(self.failed("write", name, error)),
        }
    }

    /// Make sure that the store keeps what was put if absent: one that speaks the
    /// protocol of S3 may pass over the condition, and would let two hosts write
    /// the same thing.
    ///
    /// # Errors
    /// Config if the store overwrites; Unavailable if it fails.
    pub async fn check_put_if_absent(&self) -> Result<()> {
        let Location::Remote(_) = &self.location else { return Ok(()) };
        let name = format!("{UNNAMED}/{}", uuid::Uuid::new_v4().simple());
        let puts = [
            self.put_if_absent(&name, Bytes::from_static(b"first")).await?,
            self.put_if_absent(&name, Bytes::from_static(b"second")).await?,
        ];
        if let Err(error) = self.delete(&name).await {
            tracing::warn!("an object of a check is left behind: {error}");
        }
        if puts == [PutIfAbsent::Created; 2] {
            return Err(Error::config(format!(
                "the store of {} overwrites what must be written once: use one that honours `If-None-Match: *`",
                self.location
            )));
        }
        Ok(())
    }

    /// On the local disk an object gets its name when its content is durable, so
    /// that a loss of power never leaves a name with half a content.
    async fn put_whole_if_absent(&self, name: &str, bytes: Bytes) -> Result<object_store::Result<()>> {
        let unnamed = format!("{UNNAMED}/{}", uuid::Uuid::new_v4().simple());
        self.put(&unnamed, bytes).await?;
        self.sync(std::slice::from_ref(&unnamed)).await?;
        let named = self.store.rename_if_not_exists(&self.path(&unnamed), &self.path(name)).await;
        if named.is_err() {
            self.delete(&unnamed).await?;
        }
        Ok(named)
    }

    /// The bytes of an object, or none if there is no such object.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let got = match self.store.get(&self.path(name)).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name, error)),
        }
    }

    /// Whether there is an object of this name, in the very spelling of the store.
    ///
    /// # Errors
    /// Unavailable if the store fails; Data if it cannot be a name.
    pub async fn has(&self, name: &str) -> Result<bool> {
        match self.store.head(&self.listed_path(name)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    /// The names of all objects below the folder `name`, relative to this
    /// storage, in ascending order.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn list(&self, name: &str) -> Result<Vec<String>> {
        let listed: std::result::Result<Vec<ObjectMeta>, _> =
            self.store.list(Some(&self.path(name))).try_collect().await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(self.failed("list", name, error)),
        };
        let mut names: Vec<String> = listed.iter().filter_map(|meta| self.name_of(&meta.location)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Delete an object; one that is not there counts as deleted.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn delete(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", name, error)),
        }
    }

    /// Make these objects survive a loss of power: sync the files and every
    /// folder on the way to them. Remote stores have done so already.
    ///
    /// # Errors
    /// Unavailable if the disk refuses.
    pub async fn sync(&self, names: &[String]) -> Result<()> {
        let Location::Local(root) = &self.location else { return Ok(()) };
        if names.is_empty() {
            return Ok(());
        }
        let root = root.clone();
        let files: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
        blocking(move || sync_files(&root, &files)).await
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        let parts: Vec<String> = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    fn failed(&self, doing: &str, name: &str, error: object_store::Error) -> Error {
        Error::unavailable(format!("cannot {doing} `{name}` in {}", self.location)).because(error)
    }
}

fn sync_files(root: &FsPath, files: &[PathBuf]) -> Result<()> {
    let mut folders = BTreeSet::new();
    for file in files {
        sync_path(file)?;
        let below = file.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
        folders.extend(below.map(FsPath::to_path_buf));
    }
    // The folder that holds the root, too: the root itself may be new.
    folders.extend(root.parent().map(FsPath::to_path_buf));
    folders.iter().rev().try_for_each(|folder| sync_path(folder))
}

fn sync_path(path: &FsPath) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::unavailable(format!("cannot make {} durable", path.display())).because(error))
}
