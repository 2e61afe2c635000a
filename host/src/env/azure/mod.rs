//! The way to Azure Blob Storage: from a URL and the environment to a client.
//!
//! The names are those that `object_store` reads, those of the Azure command line,
//! and its connection string. What cannot work is refused before anything is sent,
//! by the name of the variable; no value of a variable is in any message.

mod connection_string;
mod explained;
mod identity;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};
use object_store::{ClientConfigKey, ObjectStore};
use url::Url;

use crate::{Error, Result};

/// Names that `object_store` does not know: the Azure command line's, and the one
/// under which App Service, Functions and Container Apps lend an identity.
const ALIASES: &[(&str, Key)] = &[
    ("AZURE_STORAGE_ACCOUNT", Key::AccountName),
    ("AZURE_STORAGE_KEY", Key::AccessKey),
    ("IDENTITY_ENDPOINT", Key::MsiEndpoint),
];
const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// The account that every emulator has.
const EMULATED_ACCOUNT: &str = "devstoreaccount1";
/// Its key, which Microsoft publishes.
const EMULATED_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What is true, and what is not, in the spelling of `object_store`.
const TRUE: [&str; 5] = ["1", "true", "on", "yes", "y"];
const FALSE: [&str; 5] = ["0", "false", "off", "no", "n"];

/// What was said about one thing.
struct Said {
    /// The variable, for messages.
    variable: String,
    value: String,
}

/// What is said of the account, by the URL and by variables.
struct Settings {
    container: String,
    said: HashMap<Key, Said>,
}

/// A client of the container that a URL names.
///
/// # Errors
/// Config if URL or variables cannot work, by name.
pub(super) fn open(url: &Url, variables: impl Iterator<Item = (String, String)>) -> Result<Arc<dyn ObjectStore>> {
    let settings = Settings::new(url, variables)?;
    let container = settings.container.clone();
    let store = settings.builder(url)?.build();
    let store = store.map_err(|error| Error::config(format!("cannot open the store of `{url}`")).because(error))?;
    Ok(Arc::new(explained::Explained::new(store, container)))
}

impl Settings {
    fn new(url: &Url, variables: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let place = Place::of(url)?;
        // The more special name comes last and stays: storage may have an identity
        // of its own beside that of the event hub.
        let mut variables: Vec<(String, String)> = variables.filter(|(_, value)| !value.trim().is_empty()).collect();
        variables.sort_by_key(|(name, _)| (name.starts_with("AZURE_STORAGE_"), name.clone()));
        let mut said = HashMap::new();
        if let Some((_, text)) = variables.iter().find(|(name, _)| name == CONNECTION_STRING) {
            for (key, value) in connection_string::parse(text)? {
                said.insert(key, Said { variable: CONNECTION_STRING.to_owned(), value });
            }
        }
        for (variable, value) in variables {
            let alias = ALIASES.iter().find(|(name, _)| *name == variable).map(|(_, key)| *key);
            let known = || variable.starts_with("AZURE_").then(|| variable.to_ascii_lowercase().parse().ok()).flatten();
            if let Some(key) = alias.or_else(known) {
                said.insert(key, Said { variable, value: value.trim().to_owned() });
            }
        }
        // The URL decides where; the container is never the environment's to say.
        said.remove(&Key::ContainerName);
        if let Some(account) = place.account {
            said.insert(Key::AccountName, Said { variable: "the URL".to_owned(), value: account });
        }
        if place.is_fabric {
            said.insert(Key::UseFabricEndpoint, Said { variable: "the URL".to_owned(), value: "true".to_owned() });
        }
        Ok(Self { container: place.container, said })
    }

    fn builder(mut self, url: &Url) -> Result<MicrosoftAzureBuilder> {
        if self.is(Key::UseEmulator)? && self.said.contains_key(&Key::Endpoint) {
            self.emulate_elsewhere();
        }
        let emulated = self.is(Key::UseEmulator)?;
        if !emulated {
            self.check_account(url)?;
            self.check_endpoint()?;
            self.check_identity()?;
        }
        for key in [Key::UseAzureCli, Key::SkipSignature, Key::DisableTagging] {
            self.is(key)?;
        }
        let is_lent = !emulated && !self.says_who()?;
        let builder = MicrosoftAzureBuilder::new().with_container_name(self.container);
        let builder = self.said.into_iter().fold(builder, |builder, (key, said)| builder.with_config(key, said.value));
        if is_lent { identity::lent(builder) } else { Ok(builder) }
    }

    /// An emulator at an address of its own, which `object_store` takes from
    /// `AZURITE_BLOB_STORAGE_URL` only.
    fn emulate_elsewhere(&mut self) {
        let mut unless_said = |key, value: &str| {
            self.said
                .entry(key)
                .or_insert_with(|| Said { variable: "the emulator".to_owned(), value: value.to_owned() });
        };
        unless_said(Key::AccountName, EMULATED_ACCOUNT);
        unless_said(Key::Client(ClientConfigKey::AllowHttp), "true");
        if !self.said.contains_key(&Key::SasKey) && !self.said.contains_key(&Key::Token) {
            self.said
                .entry(Key::AccessKey)
                .or_insert_with(|| Said { variable: "the emulator".to_owned(), value: EMULATED_KEY.to_owned() });
        }
        self.said.remove(&Key::UseEmulator);
        // Its accounts are not hosts but folders.
        let account = self.said[&Key::AccountName].value.clone();
        if let Some(endpoint) = self.said.get_mut(&Key::Endpoint) {
            let address = endpoint.value.trim_end_matches('/');
            let address = address.strip_suffix(&format!("/{account}")).unwrap_or(address);
            endpoint.value = format!("{address}/{account}");
        }
    }

    fn check_account(&self, url: &Url) -> Result<()> {
        if self.said.contains_key(&Key::AccountName) {
            return Ok(());
        }
        Err(Error::config(format!(
            "no storage account for `{url}`: set AZURE_STORAGE_ACCOUNT_NAME (or AZURE_STORAGE_CONNECTION_STRING), write \
             abfss://{}@ACCOUNT.dfs.core.windows.net/PATH, or set AZURE_STORAGE_USE_EMULATOR=true for Azurite",
            self.container
        )))
    }

    fn check_endpoint(&self) -> Result<()> {
        let Some(Said { variable, value }) = self.said.get(&Key::Endpoint) else { return Ok(()) };
        let endpoint = Url::parse(value).map_err(|error| {
            Error::config(format!("{variable} is not a URL such as https://ACCOUNT.blob.core.windows.net"))
                .because(error)
        })?;
        if endpoint.query().is_some() || !endpoint.username().is_empty() || endpoint.password().is_some() {
            let remedy = "put a shared access signature into AZURE_STORAGE_SAS_TOKEN";
            return Err(Error::config(format!("{variable} is more than an address: {remedy}")));
        }
        match endpoint.scheme() {
            "https" => Ok(()),
            "http" if self.is(Key::Client(ClientConfigKey::AllowHttp))? => Ok(()),
            "http" => Err(Error::config(format!(
                "{variable} begins with http://: use https://, or set AZURE_ALLOW_HTTP=true to send everything unencrypted"
            ))),
            _ => Err(Error::config(format!("{variable} begins with neither https:// nor http://"))),
        }
    }

    /// An identity that lacks a part would be passed over in silence.
    fn check_identity(&self) -> Result<()> {
        let parts = [(Key::ClientId, "AZURE_CLIENT_ID"), (Key::AuthorityId, "AZURE_TENANT_ID")];
        for proof in [Key::ClientSecret, Key::FederatedTokenFile] {
            let Some(Said { variable, .. }) = self.said.get(&proof) else { continue };
            for (key, name) in parts {
                if !self.said.contains_key(&key) {
                    return Err(Error::config(format!("{variable} is set but {name} is not: set both")));
                }
            }
        }
        Ok(())
    }

    /// Whether anything but the machine's own identity says who asks.
    fn says_who(&self) -> Result<bool> {
        let proofs = [
            Key::AccessKey,
            Key::SasKey,
            Key::Token,
            Key::ClientSecret,
            Key::FederatedTokenFile,
            Key::FabricSessionToken,
        ];
        let has_proof = proofs.iter().any(|key| self.said.contains_key(key));
        Ok(has_proof || self.is(Key::UseAzureCli)? || self.is(Key::SkipSignature)?)
    }

    /// Whether a switch is on.
    fn is(&self, key: Key) -> Result<bool> {
        let Some(Said { variable, value }) = self.said.get(&key) else { return Ok(false) };
        let value = value.to_ascii_lowercase();
        match (TRUE.contains(&value.as_str()), FALSE.contains(&value.as_str())) {
            (true, _) => Ok(true),
            (_, true) => Ok(false),
            (false, false) => Err(Error::config(format!("{variable} is neither true nor false"))),
        }
    }
}

/// What a URL says.
struct Place {
    container: String,
    account: Option<String>,
    is_fabric: bool,
}

impl Place {
    /// `SCHEME://CONTAINER/…`, or `SCHEME://CONTAINER@ACCOUNT.HOST/…` with a host
    /// of Azure or Microsoft Fabric.
    fn of(url: &Url) -> Result<Self> {
        let host = url.host_str().unwrap_or_default();
        let wrong = |what: &str| {
            let forms = "az://CONTAINER/PATH or abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH";
            Err(Error::config(format!("`{url}` {what}: write {forms}")))
        };
        if url.username().is_empty() {
            return match host {
                "" => wrong("names no container"),
                host if host.contains('.') => wrong("has a host where the container belongs"),
                container => Ok(Self { container: container.to_owned(), account: None, is_fabric: false }),
            };
        }
        let Some((account, domain)) = host.split_once('.') else { return wrong("names an account without its host") };
        let is_fabric = match domain {
            "dfs.core.windows.net" | "blob.core.windows.net" => false,
            "dfs.fabric.microsoft.com" | "blob.fabric.microsoft.com" => true,
            // Other clouds are reached, but not by their host in the URL.
            _ => return wrong("has an unknown host; for another cloud set AZURE_STORAGE_ENDPOINT"),
        };
        let container = url.username().to_owned();
        Ok(Self { container, account: Some(account.to_owned()), is_fabric })
    }
}
