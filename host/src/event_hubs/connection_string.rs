//! Event Hubs connection strings.
//!
//! The client reads them too, but drops the port of `Endpoint` and ignores
//! `UseDevelopmentEmulator`, both of which a local endpoint needs.

use std::fmt;

use url::Url;

use super::settings::Secret;

/// The port of AMQP without TLS (IANA `amqp`), which emulators listen on.
const AMQP_PORT: u16 = 5672;

/// An Event Hubs connection string. Never prints its keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString {
    /// The whole text, as the client wants it.
    pub text: Secret,
    /// The fully qualified namespace: the host of `Endpoint`.
    pub namespace: String,
    /// The event hub (`EntityPath`), if it names one.
    pub event_hub: Option<String>,
    /// Where to connect to, if that is not the namespace's own address: `Endpoint`
    /// has a port, or `UseDevelopmentEmulator` is set.
    pub endpoint: Option<Url>,
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text: _, namespace, event_hub, endpoint } = self;
        f.debug_struct("ConnectionString")
            .field("namespace", namespace)
            .field("event_hub", event_hub)
            .field("endpoint", endpoint)
            .finish_non_exhaustive()
    }
}

impl ConnectionString {
    /// Understand a connection string.
    ///
    /// # Errors
    /// What is wrong with it, without repeating any of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (mut endpoint, mut event_hub, mut is_emulator) = (None, None, false);
        let (mut has_name, mut has_key, mut has_signature) = (false, false, false);
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            // Keys and signatures hold `=` themselves.
            let Some((key, value)) = part.split_once('=') else {
                return Err("a part of it has no `=`".to_owned());
            };
            let value = value.trim();
            let known = KEYS.iter().find(|known| known.eq_ignore_ascii_case(key.trim()));
            if value.is_empty()
                && let Some(known) = known
            {
                return Err(format!("its `{known}` is empty"));
            }
            match known.copied() {
                Some("Endpoint") => endpoint = Some(value),
                Some("SharedAccessKeyName") => has_name = true,
                Some("SharedAccessKey") => has_key = true,
                Some("SharedAccessSignature") => has_signature = true,
                Some("EntityPath") => event_hub = Some(value.to_owned()),
                Some(_) => is_emulator = value.eq_ignore_ascii_case("true"),
                None => {}
            }
        }
        let endpoint = endpoint.ok_or("it has no `Endpoint`")?;
        let has_credential = has_signature || (has_name && has_key);
        if !has_credential {
            return Err(
                "it has neither `SharedAccessKeyName` with `SharedAccessKey` nor `SharedAccessSignature`".to_owned()
            );
        }
        let url = Url::parse(endpoint).map_err(|_| "its `Endpoint` is not a URL such as sb://NAMESPACE/")?;
        let namespace = url.host_str().filter(|host| !host.is_empty()).ok_or("its `Endpoint` has no host")?;
        let endpoint = match (is_emulator, url.port()) {
            (true, port) => Some(format!("amqp://{namespace}:{}", port.unwrap_or(AMQP_PORT))),
            (false, Some(port)) => Some(format!("amqps://{namespace}:{port}")),
            (false, None) => None,
        };
        let endpoint = endpoint.map(|endpoint| Url::parse(&endpoint)).transpose();
        let endpoint = endpoint.map_err(|_| "the host of its `Endpoint` cannot be connected to")?;
        Ok(Self { text: Secret::new(text), namespace: namespace.to_owned(), event_hub, endpoint })
    }
}

/// The keys that mean something here, whatever their case.
const KEYS: [&str; 6] = [
    "Endpoint",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "SharedAccessSignature",
    "EntityPath",
    "UseDevelopmentEmulator",
];

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SharedAccessKeyName=reader;SharedAccessKey=c2VjcmV0LWtleQ==";

    #[track_caller]
    fn check(text: &str, namespace: &str, event_hub: Option<&str>, endpoint: Option<&str>) {
        let parsed = ConnectionString::parse(text).unwrap();
        assert_eq!(parsed.namespace, namespace, "{text}");
        assert_eq!(parsed.event_hub.as_deref(), event_hub, "{text}");
        assert_eq!(parsed.endpoint.as_ref().map(Url::as_str), endpoint, "{text}");
        assert!(!format!("{parsed:?}").contains("c2VjcmV0"), "{parsed:?}");
    }

    #[test]
    fn connection_strings_of_namespaces_and_emulators_are_understood() {
        check(
            &format!("Endpoint=sb://n.servicebus.windows.net/;{KEY};EntityPath=telemetry"),
            "n.servicebus.windows.net",
            Some("telemetry"),
            None,
        );
        check(
            "endpoint=sb://n.example/;SharedAccessSignature=SharedAccessSignature sr=a&sig=b%3D&se=1&skn=c;",
            "n.example",
            None,
            None,
        );
        check(
            &format!("Endpoint=sb://localhost;{KEY};UseDevelopmentEmulator=true;"),
            "localhost",
            None,
            Some("amqp://localhost:5672"),
        );
        check(
            &format!("Endpoint=sb://127.0.0.1:7001;{KEY};usedevelopmentemulator=True"),
            "127.0.0.1",
            None,
            Some("amqp://127.0.0.1:7001"),
        );
        check(&format!("Endpoint=sb://proxy:7001/;{KEY}"), "proxy", None, Some("amqps://proxy:7001"));
    }

    #[test]
    fn broken_connection_strings_are_refused_without_repeating_them() {
        for (text, says) in [
            ("", "no `Endpoint`"),
            ("c2VjcmV0", "no `=`"),
            ("Endpoint=sb://n/;SharedAccessKeyName=a", "neither"),
            ("Endpoint=sb://n/;SharedAccessKeyName=a;SharedAccessKey=", "`SharedAccessKey` is empty"),
            ("Endpoint=c2VjcmV0;SharedAccessKeyName=a;SharedAccessKey=c2VjcmV0", "not a URL"),
            ("Endpoint=sb:c2VjcmV0;SharedAccessKeyName=a;SharedAccessKey=c2VjcmV0", "no host"),
        ] {
            let refused = ConnectionString::parse(text).unwrap_err();
            assert!(refused.contains(says) && !refused.contains("c2VjcmV0"), "{text}: {refused}");
        }
    }
}
