//! What URLs and variables lead to, and what errors say.

use object_store::path::Path;

use super::*;

/// A key must be base64; the rest of it shows where it leaks.
const KEY: &str = "Y2FuYXJ5";

fn settle(url: &str, variables: &[(&str, &str)]) -> Result<MicrosoftAzureBuilder> {
    let url = Url::parse(url).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let builder = Settings::new(&url, variables)?.builder(&url)?;
    builder.clone().build().map_err(|error| Error::config("it cannot be built").because(error))?;
    Ok(builder)
}

/// A URL and variables lead to an account, a container and an endpoint.
#[track_caller]
fn check(url: &str, variables: &[(&str, &str)], [account, container, endpoint]: [&str; 3]) -> MicrosoftAzureBuilder {
    let builder = settle(url, variables).unwrap_or_else(|error| panic!("{url} {variables:?}: {error}"));
    let value = |key| builder.get_config_value(&key).unwrap_or_default();
    let got = [value(Key::AccountName), value(Key::ContainerName), value(Key::Endpoint)];
    assert_eq!(got, [account, container, endpoint], "{url} {variables:?}");
    builder
}

/// A URL and variables are refused with these words, and without what is secret.
#[track_caller]
fn refused(url: &str, variables: &[(&str, &str)], expected: &str) {
    match settle(url, variables) {
        Ok(builder) => panic!("{url} {variables:?} gives {builder:?}"),
        Err(error) => {
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            let said = error.to_string();
            assert!(said.contains(expected), "{said}");
            assert!(!said.contains("canary") && !said.contains(KEY), "{said}");
        }
    }
}

const ACCOUNT: (&str, &str) = ("AZURE_STORAGE_ACCOUNT_NAME", "readings");

#[test]
fn account_comes_from_the_url_the_environment_or_a_connection_string() {
    let key = ("AZURE_STORAGE_ACCOUNT_KEY", KEY);
    for url in ["az://c/path", "azure://c", "abfs://c/p", "abfss://c/p", "adl://c/p"] {
        check(url, &[ACCOUNT, key], ["readings", "c", ""]);
    }
    check("az://c/p", &[("AZURE_STORAGE_ACCOUNT", "cli"), ("AZURE_STORAGE_KEY", KEY)], ["cli", "c", ""]);
    for host in ["dfs.core.windows.net", "blob.core.windows.net"] {
        check(&format!("abfss://c@other.{host}/p"), &[ACCOUNT, key], ["other", "c", ""]);
    }
    let fabric = check("abfss://w@onelake.dfs.fabric.microsoft.com/p", &[key], ["onelake", "w", ""]);
    assert_eq!(fabric.get_config_value(&Key::UseFabricEndpoint).as_deref(), Some("true"));
    // What the environment says of a container is not where the URL leads.
    check("az://c/p", &[ACCOUNT, key, ("AZURE_CONTAINER_NAME", "other")], ["readings", "c", ""]);
}

#[test]
fn connection_strings_of_the_portal_and_of_azurite_are_understood() {
    let string = |text: &'static str| [("AZURE_STORAGE_CONNECTION_STRING", text)];
    let portal =
        "DefaultEndpointsProtocol=https;AccountName=readings;AccountKey=Y2FuYXJ5;EndpointSuffix=core.windows.net";
    let builder = check("az://c", &string(portal), ["readings", "c", "https://readings.blob.core.windows.net"]);
    assert_eq!(builder.get_config_value(&Key::AccessKey).as_deref(), Some(KEY));
    let azurite = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Y2FuYXJ5;\
                   BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;";
    check("az://c", &string(azurite), ["devstoreaccount1", "c", "http://127.0.0.1:10000/devstoreaccount1"]);
    let signed = "BlobEndpoint=https://readings.blob.core.windows.net/;SharedAccessSignature=sv=2024&sig=canary%3D";
    let builder = check("az://c", &string(signed), ["readings", "c", "https://readings.blob.core.windows.net"]);
    assert_eq!(builder.get_config_value(&Key::SasKey).as_deref(), Some("sv=2024&sig=canary%3D"));
    let emulator = check("az://c", &string("UseDevelopmentStorage=true"), ["devstoreaccount1", "c", ""]);
    assert_eq!(emulator.get_config_value(&Key::UseEmulator).as_deref(), Some("true"));
    refused("az://c", &string("AccountKey=canary"), "AZURE_STORAGE_CONNECTION_STRING has no `AccountName`");
    refused("az://c", &string("canary"), "AZURE_STORAGE_CONNECTION_STRING has a part without `=`");
}

#[test]
fn single_variable_wins_over_the_connection_string_and_the_special_name_over_the_general() {
    let string = ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=b3RoZXI=");
    let builder = check("az://c", &[ACCOUNT, string], ["readings", "c", "https://other.blob.core.windows.net"]);
    assert_eq!(builder.get_config_value(&Key::AccessKey).as_deref(), Some("b3RoZXI="));
    let identity = [("AZURE_STORAGE_CLIENT_ID", "storage"), ("AZURE_CLIENT_ID", "hub"), ("AZURE_TENANT_ID", "t")];
    let variables = [identity.as_slice(), &[ACCOUNT, ("AZURE_CLIENT_SECRET", "canary")]].concat();
    let builder = check("az://c", &variables, ["readings", "c", ""]);
    assert_eq!(builder.get_config_value(&Key::ClientId).as_deref(), Some("storage"));
}

#[test]
fn emulator_needs_no_account_and_may_be_at_any_address() {
    let emulator = ("AZURE_STORAGE_USE_EMULATOR", "true");
    check("az://c", &[emulator], ["", "c", ""]);
    for address in ["http://azurite:10000", "http://azurite:10000/devstoreaccount1/"] {
        let endpoint = ("AZURE_STORAGE_ENDPOINT", address);
        check("az://c", &[emulator, endpoint], ["devstoreaccount1", "c", "http://azurite:10000/devstoreaccount1"]);
    }
}

#[test]
fn what_is_missing_or_cannot_work_is_named() {
    let key = ("AZURE_STORAGE_ACCOUNT_KEY", KEY);
    refused("az://c/p", &[], "set AZURE_STORAGE_ACCOUNT_NAME");
    refused("az://c/p", &[("AZURE_STORAGE_ACCOUNT_NAME", " ")], "set AZURE_STORAGE_ACCOUNT_NAME");
    refused("az://c/p", &[key], "abfss://c@ACCOUNT.dfs.core.windows.net");
    refused("az://readings.blob.core.windows.net/c", &[key], "has a host where the container belongs");
    refused("abfss://c@readings/p", &[key], "names an account without its host");
    refused("abfss://c@readings.example.org/p", &[key], "set AZURE_STORAGE_ENDPOINT");
    refused("az://c", &[("AZURE_STORAGE_USE_EMULATOR", "maybe")], "AZURE_STORAGE_USE_EMULATOR is neither true nor");
    refused("az://c", &[ACCOUNT, ("AZURE_USE_AZURE_CLI", "maybe")], "AZURE_USE_AZURE_CLI is neither true nor");
    let endpoint = |address: &'static str| [ACCOUNT, key, ("AZURE_STORAGE_ENDPOINT", address)];
    refused("az://c", &endpoint("http://127.0.0.1:1"), "set AZURE_ALLOW_HTTP=true");
    refused("az://c", &endpoint("readings"), "AZURE_STORAGE_ENDPOINT is not a URL");
    refused("az://c", &endpoint("ftp://readings"), "begins with neither");
    refused("az://c", &endpoint("https://r.blob.core.windows.net?sig=canary"), "AZURE_STORAGE_SAS_TOKEN");
    let allowed = [endpoint("http://127.0.0.1:1").as_slice(), &[("AZURE_ALLOW_HTTP", "true")]].concat();
    check("az://c", &allowed, ["readings", "c", "http://127.0.0.1:1"]);
    let secret = [ACCOUNT, ("AZURE_CLIENT_SECRET", "canary")];
    refused("az://c", &secret, "AZURE_CLIENT_SECRET is set but AZURE_CLIENT_ID is not");
    let secret = [ACCOUNT, ("AZURE_CLIENT_SECRET", "canary"), ("AZURE_CLIENT_ID", "c")];
    refused("az://c", &secret, "AZURE_CLIENT_SECRET is set but AZURE_TENANT_ID is not");
    refused("az://c", &[ACCOUNT, ("AZURE_STORAGE_ACCOUNT_KEY", "canary!")], "cannot be built");
}

/// Asking is left to the first request: a check of a pipeline file does not ask.
#[test]
fn account_alone_is_asked_for_the_identity_of_the_machine() {
    check("az://c", &[ACCOUNT], ["readings", "c", ""]);
    check("az://c", &[ACCOUNT, ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token")], ["readings", "c", ""]);
}

fn generic(text: &str) -> object_store::Error {
    object_store::Error::Generic { store: "MicrosoftAzure", source: text.to_owned().into() }
}

#[test]
fn signature_in_the_address_of_a_failed_deletion_is_hidden() {
    let text =
        "Error performing POST http://127.0.0.1:1/a/c?comp=batch&sv=2024&sig=canary%2Fx%3D&se=2030 in 3ms - failed";
    let said = explained::explain(generic(text), "c").to_string();
    assert!(!said.contains("canary") && said.contains("sig=…&se=2030 in 3ms - failed"), "{said}");
    let said = explained::explain(generic("sig=canary"), "c").to_string();
    assert!(said.ends_with("sig=…"), "{said}");
}

#[test]
fn missing_container_is_not_a_missing_object() {
    let text = "404 Not Found: <Error><Code>ContainerNotFound</Code></Error>";
    let missing = |text: &str| object_store::Error::NotFound { path: "p".to_owned(), source: text.to_owned().into() };
    for error in [missing(text), generic(text)] {
        let said = explained::explain(error, "c").to_string();
        assert!(said.contains("the container `c` does not exist: make it"), "{said}");
    }
    let error = explained::explain(missing("404 Not Found: <Code>BlobNotFound</Code>"), "c");
    assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
}

#[test]
fn what_callers_tell_apart_stays_even_if_a_path_looks_like_a_signature() {
    let path = Path::from("sig=1/file").to_string();
    let exists = object_store::Error::AlreadyExists { path, source: "409 Conflict".into() };
    assert!(matches!(explained::explain(exists, "c"), object_store::Error::AlreadyExists { .. }));
}
