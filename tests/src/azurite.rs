//! Azurite, the emulator of Azure Blob Storage that Microsoft publishes: installed
//! from the lock file in `tests/azurite`, one process for all tests of a binary.
//!
//! The process ends with whoever started it, however that dies: it watches its
//! standard input.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, RetryConfig};
use sha2::{Digest as _, Sha256};

use crate::{root, target_folder};

/// The account that every emulator of the service has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which Microsoft publishes.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The container that is there from the start.
pub const CONTAINER: &str = "weir";

/// What is installed: the packages, locked, and what serves them.
const FILES: [&str; 3] = ["package.json", "package-lock.json", "serve.cjs"];
/// What it prints before its address when it listens.
const LISTENS: &str = "successfully listens on ";

/// A blob service on this machine that keeps everything in memory; it is gone
/// when this is dropped.
pub struct Azurite {
    process: Child,
    /// Read no further, but open: who prints into a closed pipe dies.
    _output: BufReader<ChildStdout>,
    origin: String,
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Azurite {
    /// The service that all tests of this process share, with [`CONTAINER`].
    pub async fn shared() -> &'static Self {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        let start = || SHARED.get_or_init(|| Self::start(0));
        let shared = tokio::task::spawn_blocking(start).await.expect("the service starts");
        shared.make_container(CONTAINER).await;
        shared
    }

    /// Start a service, without any container, on a port or with 0 on a free one.
    ///
    /// # Panics
    /// If it cannot be installed, or does not start.
    pub fn start(port: u16) -> Self {
        let folder = installed();
        let mut process = Command::new("node")
            .args(["serve.cjs", "--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the README names nodejs and npm");
        let mut output = BufReader::new(process.stdout.take().expect("invariant: it is piped"));
        let mut said = String::new();
        while output.read_line(&mut said).expect("Azurite prints text") > 0 {
            if let Some((_, origin)) = said.trim_end().rsplit_once(LISTENS) {
                return Self { process, _output: output, origin: origin.to_owned() };
            }
        }
        let _ended = process.wait();
        panic!("Azurite did not start: {said}");
    }

    /// The address of the account.
    pub fn endpoint(&self) -> String {
        format!("{}/{ACCOUNT}", self.origin)
    }

    /// What the environment of a process must say so that `az://` leads here.
    pub fn environment(&self) -> [(&'static str, &str); 2] {
        [("AZURE_STORAGE_USE_EMULATOR", "true"), ("AZURITE_BLOB_STORAGE_URL", &self.origin)]
    }

    /// Make a container, unless it is there.
    ///
    /// # Panics
    /// If the service refuses.
    pub async fn make_container(&self, name: &str) {
        let key = AzureAccessKey::try_new(KEY).expect("the published key is a key");
        let credential = AzureCredential::AccessKey(key);
        let url = format!("{}/{name}?restype=container", self.endpoint());
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = "PUT".parse().expect("a method");
        *request.uri_mut() = url.parse().expect("an address");
        request.headers_mut().insert("content-length", "0".parse().expect("a number"));
        AzureAuthorizer::new(&credential, ACCOUNT).authorize(&mut request);
        let client = ReqwestConnector::default().connect(&ClientOptions::new().with_allow_http(true));
        let answer = client.expect("a client").execute(request).await.expect("Azurite answers");
        let status = answer.status().as_u16();
        assert!(matches!(status, 201 | 409), "container {name}: Azurite answers {status}");
    }

    /// The objects of a container, as the client of weir reaches them.
    ///
    /// # Panics
    /// If the container has no name for a container.
    pub fn store(&self, container: &str) -> MicrosoftAzure {
        self.store_at(&self.endpoint(), container, RetryConfig::default())
    }

    /// The same through another address, with another patience.
    ///
    /// # Panics
    /// Like [`Azurite::store`].
    pub fn store_at(&self, endpoint: &str, container: &str, retry: RetryConfig) -> MicrosoftAzure {
        let builder = MicrosoftAzureBuilder::new().with_account(ACCOUNT).with_access_key(KEY);
        let builder = builder.with_container_name(container).with_endpoint(endpoint.to_owned());
        builder.with_allow_http(true).with_retry(retry).build().expect("the settings are sound")
    }

    /// An empty folder of [`CONTAINER`] that nobody else uses.
    pub fn folder(&self) -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("folder-{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let url = format!("az://{CONTAINER}/{name}");
        Folder { store: Arc::new(PrefixStore::new(self.store(CONTAINER), name.clone())), name, url }
    }
}

/// A folder of a container.
pub struct Folder {
    /// The objects below it.
    pub store: Arc<PrefixStore<MicrosoftAzure>>,
    /// Its path in the container.
    pub name: String,
    /// Where it lies.
    pub url: String,
}

/// The folder with the installed packages. It is made once, kept beside the build,
/// and shared with other processes.
fn installed() -> &'static PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let from = root().join("tests/azurite");
        let mut digest = Sha256::new();
        for name in FILES {
            digest.update(fs::read(from.join(name)).expect("the checkout is whole"));
        }
        let named = hex(&digest.finalize()[..8]);
        let folder = target_folder().join("azurite").join(named);
        fs::create_dir_all(&folder).expect("a folder beside the build");
        // Let go of at the end of this block, or of the process.
        let lock = File::create(folder.join("lock")).expect("a file beside the build");
        lock.lock().expect("a file can be locked");
        let ready = folder.join("ready");
        if !ready.exists() {
            for name in FILES {
                fs::copy(from.join(name), folder.join(name)).expect("a file can be copied");
            }
            let mut install = Command::new("npm");
            install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"]);
            let output = install.current_dir(&folder).output().expect("the README names nodejs and npm");
            assert!(output.status.success(), "npm ci failed: {}", crate::binary::text(&output));
            fs::write(&ready, "").expect("the packages can be marked as ready");
        }
        folder
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azurite_ends_when_whoever_started_it_lets_go_of_its_input() {
        let mut azurite = Azurite::start(0);
        assert!(azurite.process.try_wait().unwrap().is_none(), "it runs");
        drop(azurite.process.stdin.take());
        assert!(azurite.process.wait().unwrap().success(), "it ended by itself");
    }
}
