//! The identity that Azure lends to a machine, where nothing else says who asks.
//!
//! On a machine without one the question has no answer, and the client would ask
//! for minutes before it says anything; here it asks a few times, and says what
//! is missing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::azure::{AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::{CredentialProvider, RetryConfig};

use crate::{Error, Result};

/// How often the machine is asked, beyond the first time.
const MAX_RETRIES: usize = 3;
/// And for how long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// The same client, with the identity of this machine.
///
/// # Errors
/// Config if the settings cannot work.
pub(super) fn lent(builder: MicrosoftAzureBuilder) -> Result<MicrosoftAzureBuilder> {
    let retry = RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let asking = builder.clone().with_retry(retry).build();
    let asking = asking.map_err(|error| Error::config("cannot ask for the identity of this machine").because(error))?;
    Ok(builder.with_credentials(Arc::new(Lent(Arc::clone(asking.credentials())))))
}

#[derive(Debug)]
struct Lent(AzureCredentialProvider);

#[async_trait]
impl CredentialProvider for Lent {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        self.0.get_credential().await.map_err(|error| object_store::Error::Generic {
            store: super::explained::STORE,
            source: format!(
                "the environment does not say who asks, and this machine has no managed identity: set \
                 AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING, AZURE_CLIENT_ID \
                 with AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or AZURE_USE_AZURE_CLI=true ({error})"
            )
            .into(),
        })
    }
}
