//! The way to S3 and to what speaks its protocol: from a URL and the environment
//! to a client.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use url::Url;

use crate::{Error, Result};

/// The names under which `object_store` reads another address.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// A client of the bucket that a URL names.
///
/// # Errors
/// Config if URL or variables cannot work, by name.
pub(super) fn open(url: &Url, variables: impl Iterator<Item = (String, String)>) -> Result<Arc<dyn ObjectStore>> {
    let variables: Vec<(String, String)> = variables.filter(|(_, value)| !value.trim().is_empty()).collect();
    let value = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let plain = ENDPOINTS.iter().find(|name| value(name).is_some_and(|value| value.starts_with("http://")));
    if let (Some(variable), None) = (plain, value("AWS_ALLOW_HTTP")) {
        return Err(Error::config(format!(
            "{variable} begins with http://: use https://, or set AWS_ALLOW_HTTP=true to send everything unencrypted"
        )));
    }
    let known = |name: &str| name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok()).flatten();
    let builder = variables.iter().fold(AmazonS3Builder::new(), |builder, (name, value)| match known(name) {
        Some(key) => builder.with_config(key, value),
        None => builder,
    });
    let store = builder.with_url(url.as_str()).build();
    let store = store.map_err(|error| Error::config(format!("cannot open the store of `{url}`")).because(error))?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: Option<&str>) {
        let url = Url::parse("s3://bucket/path").unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let said = open(&url, variables).err().map(|error| error.to_string());
        match (&said, expected) {
            (None, None) => {}
            (Some(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
            _ => panic!("{said:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn endpoint_without_encryption_must_be_allowed_by_name() {
        let keys = [("AWS_ACCESS_KEY_ID", "user"), ("AWS_SECRET_ACCESS_KEY", "canary")];
        check(&keys, None);
        let secure = [keys.as_slice(), &[("AWS_ENDPOINT", "https://minio.example")]].concat();
        check(&secure, None);
        for name in ENDPOINTS {
            let plain = [keys.as_slice(), &[(name, "http://127.0.0.1:9000")]].concat();
            check(&plain, Some(&format!("{name} begins with http://")));
            check(&[plain.as_slice(), &[("AWS_ALLOW_HTTP", "true")]].concat(), None);
        }
    }
}
