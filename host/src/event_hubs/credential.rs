//! Identities of Microsoft Entra ID, each made once for the process.
//!
//! Every connection asks for a token. Tokens live in the credential, and that of
//! the developer tools starts a program each time; so connections share one
//! credential, and a token is asked for again only shortly before it is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientSecretCredential, DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential,
};

use super::Identity;
use crate::env;

/// A token that is over so soon is not handed out any more.
const LEAST_LEFT: Duration = Duration::from_secs(300);

static CREDENTIALS: Mutex<Option<HashMap<Identity, Arc<dyn TokenCredential>>>> = Mutex::new(None);

/// The credential of an identity, the same one each time.
///
/// # Errors
/// What is missing in the environment.
pub(super) fn of(identity: &Identity) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let mut credentials = CREDENTIALS.lock().unwrap_or_else(PoisonError::into_inner);
    let credentials = credentials.get_or_insert_default();
    if let Some(credential) = credentials.get(identity) {
        return Ok(Arc::clone(credential));
    }
    let credential: Arc<dyn TokenCredential> =
        Arc::new(Remembering { inner: made(identity)?, tokens: tokio::sync::Mutex::default() });
    credentials.insert(identity.clone(), Arc::clone(&credential));
    Ok(credential)
}

fn made(identity: &Identity) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let missing = |name: &str| {
        azure_core::Error::with_message(ErrorKind::Credential, format!("the environment variable {name} is not set"))
    };
    let variable = |name: &str| env::variable(name).ok_or_else(|| missing(name));
    Ok(match identity {
        Identity::DeveloperTools => DeveloperToolsCredential::new(None)?,
        Identity::ManagedIdentity { client_id } => {
            let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
            let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
            ManagedIdentityCredential::new(Some(options))?
        }
        Identity::WorkloadIdentity => WorkloadIdentityCredential::new(None)?,
        Identity::Environment => {
            let secret = Secret::new(variable("AZURE_CLIENT_SECRET")?);
            ClientSecretCredential::new(&variable("AZURE_TENANT_ID")?, variable("AZURE_CLIENT_ID")?, secret, None)?
        }
    })
}

/// Remembers the tokens of another credential, by their scopes.
#[derive(Debug)]
struct Remembering {
    inner: Arc<dyn TokenCredential>,
    tokens: tokio::sync::Mutex<HashMap<String, AccessToken>>,
}

#[async_trait::async_trait]
impl TokenCredential for Remembering {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        // Whoever comes meanwhile waits for the same token.
        let mut tokens = self.tokens.lock().await;
        let key = scopes.join(" ");
        if let Some(token) = tokens.get(&key)
            && token.expires_on > OffsetDateTime::now_utc() + LEAST_LEFT
        {
            return Ok(token.clone());
        }
        let token = self.inner.get_token(scopes, options).await?;
        tokens.insert(key, token.clone());
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Gives tokens that live so long, and counts them.
    #[derive(Debug)]
    struct Counting(AtomicU64, Duration);

    #[async_trait::async_trait]
    impl TokenCredential for Counting {
        async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(AccessToken::new(format!("token {count}"), OffsetDateTime::now_utc() + self.1))
        }
    }

    #[tokio::test]
    async fn token_is_asked_for_again_only_when_it_is_nearly_over() {
        for (lives, asked) in [(Duration::from_secs(3600), 1), (Duration::from_secs(60), 3)] {
            let inner = Arc::new(Counting(AtomicU64::new(0), lives));
            let remembering = Remembering { inner: Arc::clone(&inner) as _, tokens: tokio::sync::Mutex::default() };
            for _ in 0..3 {
                remembering.get_token(&["scope"], None).await.unwrap();
            }
            assert_eq!(inner.0.load(Ordering::SeqCst), asked);
        }
    }
}
