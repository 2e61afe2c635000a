//! The source: exactly one, and its values.

use std::time::Duration;

use super::super::raw;
use super::super::texts;
use super::super::validated::SourceConfig;
use super::{Check, bytes};
use crate::source::files::{FileFormat, FilesSettings};
use crate::source::generator::GeneratorSettings;

impl Check<'_> {
    /// The source, and how many of its files one epoch takes.
    pub(super) fn source(&mut self, raw: raw::Source) -> Option<(SourceConfig, usize)> {
        let named = [("event_hubs", raw.event_hubs.is_some()), ("files", raw.files.is_some())];
        let named = named.into_iter().chain([("generator", raw.generator.is_some())]);
        let named: Vec<&str> = named.filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect();
        match named.as_slice() {
            [] if self.is_clean_below("source") => {
                let remedy = "add `[source.event_hubs]`, `[source.files]` or `[source.generator]`".to_owned();
                self.wrong("source", "there is no source", Some(remedy));
            }
            [] | [_] => {}
            [first, others @ ..] => {
                for other in others {
                    let remedy = format!("keep `[source.{first}]` or `[source.{other}]`");
                    self.wrong(&format!("source.{other}"), "there are two sources", Some(remedy));
                }
            }
        }
        // All are looked at for what else is wrong.
        let hub = raw.event_hubs.and_then(|hub| self.event_hubs(hub));
        let hub = hub.map(|hub| (SourceConfig::EventHubs(Box::new(hub)), usize::MAX));
        let files = raw.files.and_then(|files| self.files(files));
        let generator = raw.generator.and_then(|generator| self.generator(&generator));
        let generator = generator.map(|generator| (SourceConfig::Generator(generator), usize::MAX));
        hub.or(files).or(generator).filter(|_| named.len() == 1)
    }

    fn files(&mut self, raw: raw::Files) -> Option<(SourceConfig, usize)> {
        let folder = self.location("source.files.path", raw.path);
        let all = "**".to_owned();
        let glob = self.text("source.files.glob", raw.glob, "a pattern", all, texts::glob);
        let every = folder.as_ref().map_or(Duration::from_secs(5), FilesSettings::default_poll_interval);
        let poll = self.text("source.files.poll_interval", raw.poll_interval, "a duration", every, texts::duration);
        let settings = FilesSettings {
            folder: folder?,
            glob: glob?,
            format: match raw.format.unwrap_or(raw::Format::Json) {
                raw::Format::Json => FileFormat::Json,
                raw::Format::JsonLines => FileFormat::JsonLines,
                raw::Format::Text => FileFormat::Text,
                raw::Format::Binary => FileFormat::Binary,
            },
            poll_interval: poll?,
        };
        Some((SourceConfig::Files(settings), bytes(raw.max_files_per_epoch.unwrap_or(1000))))
    }

    fn generator(&mut self, raw: &raw::Generator) -> Option<GeneratorSettings> {
        let default = GeneratorSettings::default();
        let start = raw.start.clone();
        let start_us = self.text("source.generator.start", start, "a time", default.start_us, texts::time_us);
        let every = Duration::from_micros(default.interval_us.unsigned_abs());
        let interval = raw.interval.clone();
        let interval = self.text("source.generator.interval", interval, "a duration", every, texts::duration);
        let settings = GeneratorSettings {
            seed: raw.seed.unwrap_or(default.seed),
            devices: raw.devices.unwrap_or(default.devices),
            partitions: raw.partitions.unwrap_or(default.partitions),
            events: raw.events,
            readings_per_message: raw.readings_per_message.unwrap_or(default.readings_per_message),
            events_per_second: raw.events_per_second,
            start_us: start_us?,
            interval_us: i64::try_from(interval?.as_micros()).unwrap_or(i64::MAX),
            out_of_order: raw.out_of_order.unwrap_or(default.out_of_order),
            malformed: raw.malformed.unwrap_or(default.malformed),
        };
        if let Err(error) = settings.validate() {
            self.wrong("source.generator", error.to_string(), None);
            return None;
        }
        Some(settings)
    }

    /// Whether nothing was reported at this path or below it.
    pub(super) fn is_clean_below(&self, path: &str) -> bool {
        !self
            .problems
            .iter()
            .any(|problem| problem.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}
