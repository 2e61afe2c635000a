//! Who is notified of alerts. URLs may hold tokens, so that no message repeats one.

use std::time::Duration;

use url::Url;

use super::super::file::join;
use super::super::raw;
use super::super::texts;
use super::super::validated::{EventHubConfig, NotifyConfig, RuleConfig, SourceConfig, WebhookConfig};
use super::event_hubs::Way;
use super::tables::contains;
use super::{Check, bytes};
use crate::env::Location;

/// The alerts of one request, unless the file says otherwise.
const REQUEST_ALERTS: u64 = 100;
/// How long an answer may take, unless the file says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The keys that say where to, of which an entry has one.
const WAYS: [&str; 4] = ["webhook", "event_hub", "file", "stdout"];
/// The keys that only some ways have, and which ways those are.
const STRAYS: [(&str, &[&str]); 10] = [
    ("secret", &["webhook"]),
    ("batch", &["webhook", "event_hub"]),
    ("timeout", &["webhook", "event_hub"]),
    ("connection_string", &["event_hub"]),
    ("namespace", &["event_hub"]),
    ("credential", &["event_hub"]),
    ("client_id", &["event_hub"]),
    ("transport", &["event_hub"]),
    ("endpoint", &["event_hub"]),
    ("partition_key", &["event_hub"]),
];

impl Check<'_> {
    /// Who is notified of the alerts of a rule with these key columns, if all
    /// entries are right.
    pub(super) fn notify(
        &mut self,
        path: &str,
        raw: Option<Vec<Option<raw::Notify>>>,
        key: Option<&[String]>,
    ) -> Option<Vec<NotifyConfig>> {
        let Some(raw) = raw else { return (!self.file.has(path)).then(Vec::new) };
        let count = raw.len();
        let mut checked: Vec<NotifyConfig> = Vec::with_capacity(count);
        for (index, raw) in raw.into_iter().enumerate() {
            let path = join(path, &index.to_string());
            let Some(entry) = raw.and_then(|raw| self.notify_entry(&path, raw, key)) else { continue };
            if checked.iter().any(|other| other.is_same_place(&entry)) {
                self.wrong(&path, "the same place is notified twice", Some("keep one of them".to_owned()));
            } else {
                checked.push(entry);
            }
        }
        (checked.len() == count).then_some(checked)
    }

    fn notify_entry(&mut self, path: &str, raw: raw::Notify, key: Option<&[String]>) -> Option<NotifyConfig> {
        let at = |key: &str| join(path, key);
        let ways: Vec<&str> = WAYS.into_iter().filter(|key| self.file.has(&at(key))).collect();
        let way = match ways.as_slice() {
            [way] => *way,
            [] => {
                let remedy = "add one of `webhook = \"https://…\"`, `event_hub = \"alerts\"`, `file = \"alerts.jsonl\"`, \
                              `stdout = true`";
                // Where another key is unknown, it is told what is allowed already.
                if self.is_clean_below(path) {
                    self.wrong(path, "it is not said where to notify", Some(remedy.to_owned()));
                }
                return None;
            }
            [first, others @ ..] => {
                for other in others {
                    let remedy = "give each place an entry of its own: `notify = [{ … }, { … }]`".to_owned();
                    self.wrong(&at(other), format!("an entry with `{first}` has no `{other}`"), Some(remedy));
                }
                return None;
            }
        };
        for (key, ways) in STRAYS {
            if !ways.contains(&way) && self.file.has(&at(key)) {
                let named = ways.iter().map(|way| if *way == "webhook" { "a webhook" } else { "an event hub" });
                let whose = named.collect::<Vec<_>>().join(" or ");
                self.wrong(&at(key), format!("only {whose} has `{key}`"), Some("leave it out".to_owned()));
            }
        }
        match way {
            "webhook" => self.webhook(path, raw).map(NotifyConfig::Webhook),
            "event_hub" => self.notify_hub(path, raw, key).map(|hub| NotifyConfig::EventHub(Box::new(hub))),
            "file" => self.notify_file(&at("file"), raw.file?),
            _ if raw.stdout? => Some(NotifyConfig::Stdout),
            _ => {
                let remedy = "write `stdout = true`, or leave the entry out".to_owned();
                self.wrong(&at("stdout"), "an entry that notifies nobody", Some(remedy));
                None
            }
        }
    }

    fn webhook(&mut self, path: &str, raw: raw::Notify) -> Option<WebhookConfig> {
        let at = |key: &str| join(path, key);
        let (batch, timeout) = self.request(path, raw.batch, raw.timeout);
        let secret = match raw.secret {
            Some(secret) if secret.is_empty() => {
                let remedy = "give it a long random text, or leave it out to send without signatures".to_owned();
                self.wrong(&at("secret"), "the secret is empty", Some(remedy));
                None
            }
            None if self.file.has(&at("secret")) => None,
            secret => Some(secret),
        };
        let url = raw.webhook.and_then(|text| match Url::parse(text.trim()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                let remedy = "write a URL with its scheme: \"https://example.com/hooks/alerts\"".to_owned();
                self.wrong(&at("webhook"), "the webhook is not a URL of the scheme http or https", Some(remedy));
                None
            }
        });
        Some(WebhookConfig { url: url?, secret: secret?, batch: batch?, timeout: timeout? })
    }

    /// How many alerts a request holds, and how long an answer may take.
    fn request(
        &mut self,
        path: &str,
        batch: Option<u64>,
        timeout: Option<String>,
    ) -> (Option<usize>, Option<Duration>) {
        let batch = match batch {
            None if self.file.has(&join(path, "batch")) => None,
            batch => Some(bytes(batch.unwrap_or(REQUEST_ALERTS))),
        };
        (batch, self.text(&join(path, "timeout"), timeout, "a duration", TIMEOUT, texts::duration))
    }

    fn notify_hub(&mut self, path: &str, raw: raw::Notify, key: Option<&[String]>) -> Option<EventHubConfig> {
        let (batch, timeout) = self.request(path, raw.batch, raw.timeout);
        let partition_key = match raw.partition_key {
            Some(names) => self.names(&join(path, "partition_key"), names),
            None if self.file.has(&join(path, "partition_key")) => None,
            None => key.map(<[String]>::to_vec),
        };
        let way = Way {
            event_hub: raw.event_hub,
            connection_string: raw.connection_string,
            namespace: raw.namespace,
            credential: raw.credential,
            client_id: raw.client_id,
            transport: raw.transport,
            endpoint: raw.endpoint,
        };
        let hub = self.hub(path, way);
        Some(EventHubConfig { hub: hub?, partition_key: partition_key?, batch: batch?, timeout: timeout? })
    }

    fn notify_file(&mut self, path: &str, text: String) -> Option<NotifyConfig> {
        // A webhook's URL in the wrong key is not repeated either.
        let is_file = !text.ends_with('/') && (!text.contains("://") || text.starts_with("file://"));
        let location = if is_file { Some(self.location(path, Some(text))?) } else { None };
        match location {
            Some(Location::Local(file)) => Some(NotifyConfig::File(file)),
            Some(Location::Remote(_)) | None => {
                let remedy = "write the path of a file, such as \"data/alerts.jsonl\"".to_owned();
                self.wrong(path, "alerts can only be appended to a file on the local disk", Some(remedy));
                None
            }
        }
    }

    /// Files of alerts lie neither where weir reads nor in folders that it has for itself.
    pub(super) fn notify_places(
        &mut self,
        source: Option<&SourceConfig>,
        folders: &[(String, String, &Location)],
        rules: &[RuleConfig],
    ) {
        let source = match source {
            Some(SourceConfig::Files(files)) => Some(("the source".to_owned(), &files.folder)),
            _ => None,
        };
        let folders = || source.clone().into_iter().chain(folders.iter().map(|(_, what, at)| (what.clone(), *at)));
        for rule in rules {
            for (index, entry) in rule.notify.iter().enumerate() {
                let NotifyConfig::File(file) = entry else { continue };
                let file = Location::Local(file.clone());
                if let Some((what, _)) = folders().find(|(_, folder)| contains(folder, &file)) {
                    let path = format!("{}.notify.{index}.file", join("rule", &rule.name));
                    let remedy = "move it into a folder of its own".to_owned();
                    self.wrong(&path, format!("the file of alerts lies in the folder of {what}"), Some(remedy));
                }
            }
        }
    }
}
