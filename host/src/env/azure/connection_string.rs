//! Connection strings of storage accounts, as the portal, the Azure command line
//! and Azurite print them.

use object_store::ClientConfigKey;
use object_store::azure::AzureConfigKey as Key;

use super::{CONNECTION_STRING, EMULATED_ACCOUNT, EMULATED_KEY};
use crate::{Error, Result};

/// What a connection string says; parts about other services are passed over.
///
/// # Errors
/// Config if it is none, or lacks what reaches blobs. No part is in the message.
pub(super) fn parse(text: &str) -> Result<Vec<(Key, String)>> {
    let wrong = |what: &str| Error::config(format!("{CONNECTION_STRING} {what}"));
    let mut said = Vec::new();
    let (mut protocol, mut suffix, mut account, mut endpoint) = ("https", "core.windows.net", None, None);
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| wrong("has a part without `=`"))?;
        match name.trim().to_ascii_lowercase().as_str() {
            "usedevelopmentstorage" if value.eq_ignore_ascii_case("true") => {
                return Ok(vec![
                    (Key::UseEmulator, "true".to_owned()),
                    (Key::AccountName, EMULATED_ACCOUNT.to_owned()),
                    (Key::AccessKey, EMULATED_KEY.to_owned()),
                ]);
            }
            "defaultendpointsprotocol" => protocol = value,
            "endpointsuffix" => suffix = value,
            "blobendpoint" => endpoint = Some(value.trim_end_matches('/').to_owned()),
            "accountname" => account = Some(value),
            "accountkey" => said.push((Key::AccessKey, value.to_owned())),
            "sharedaccesssignature" => said.push((Key::SasKey, value.to_owned())),
            _ => {}
        }
    }
    // Without `AccountName`, as in one for a shared access signature, the host has it.
    let of_host = |endpoint: &String| {
        let host = endpoint.split_once("://")?.1.split(['/', ':']).next()?;
        host.split_once(".blob.").map(|(account, _)| account.to_owned())
    };
    let account = account.map(str::to_owned).or_else(|| endpoint.as_ref().and_then(of_host));
    let account = account.ok_or_else(|| wrong("has no `AccountName`"))?;
    let endpoint = endpoint.unwrap_or_else(|| format!("{protocol}://{account}.blob.{suffix}"));
    // Who copies an address with http:// means it.
    if endpoint.starts_with("http://") {
        said.push((Key::Client(ClientConfigKey::AllowHttp), "true".to_owned()));
    }
    said.extend([(Key::AccountName, account), (Key::Endpoint, endpoint)]);
    Ok(said)
}
