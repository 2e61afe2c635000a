//! The source: exactly one, and its values.

use std::time::Duration;

use super::super::raw;
use super::super::texts;
use super::super::validated::{FilesConfig, Format, GeneratorConfig, SourceConfig};
use super::{Check, bytes};

/// 2025-10-05T00:00:00Z
const DEFAULT_START_US: i64 = 1_759_622_400_000_000;

impl Check<'_> {
    /// The source, and how many of its files one epoch takes.
    pub(super) fn source(&mut self, raw: raw::Source) -> Option<(SourceConfig, usize)> {
        match (raw.files, raw.generator) {
            (Some(files), None) => self.files(files),
            (None, Some(generator)) => {
                let source = self.generator(&generator)?;
                Some((SourceConfig::Generator(source), usize::MAX))
            }
            (Some(files), Some(generator)) => {
                self.wrong(
                    "source.generator",
                    "there are two sources",
                    Some("keep `[source.files]` or `[source.generator]`".to_owned()),
                );
                // Both are looked at for what else is wrong.
                let _ = (self.files(files), self.generator(&generator));
                None
            }
            (None, None) => {
                if self.is_clean_below("source") {
                    let remedy = "add `[source.files]` or `[source.generator]`".to_owned();
                    self.wrong("source", "there is no source", Some(remedy));
                }
                None
            }
        }
    }

    fn files(&mut self, raw: raw::Files) -> Option<(SourceConfig, usize)> {
        let folder = self.location("source.files.path", raw.path);
        let all = texts::glob("**").ok()?;
        let glob = self.text("source.files.glob", raw.glob, "a pattern", all, texts::glob);
        let every = Duration::from_secs(5);
        let poll = self.text("source.files.poll_interval", raw.poll_interval, "a duration", every, texts::duration);
        let files = FilesConfig {
            folder: folder?,
            glob: glob?,
            format: raw.format.unwrap_or(Format::Json),
            poll_interval: poll?,
        };
        Some((SourceConfig::Files(files), bytes(raw.max_files_per_epoch.unwrap_or(1000))))
    }

    fn generator(&mut self, raw: &raw::Generator) -> Option<GeneratorConfig> {
        let start = raw.start.clone();
        let start_us = self.text("source.generator.start", start, "a time", DEFAULT_START_US, texts::time_us);
        let second = Duration::from_secs(1);
        let interval = raw.interval.clone();
        let interval = self.text("source.generator.interval", interval, "a duration", second, texts::duration);
        Some(GeneratorConfig {
            seed: raw.seed.unwrap_or(1),
            devices: bytes(raw.devices.unwrap_or(100)),
            partitions: bytes(raw.partitions.unwrap_or(1)),
            events: raw.events,
            readings_per_message: bytes(raw.readings_per_message.unwrap_or(1)),
            events_per_second: raw.events_per_second,
            start_us: start_us?,
            interval: interval?,
            out_of_order: raw.out_of_order.unwrap_or(0.0),
            malformed: raw.malformed.unwrap_or(0.0),
        })
    }

    /// Whether nothing was reported at this path or below it.
    pub(super) fn is_clean_below(&self, path: &str) -> bool {
        !self
            .problems
            .iter()
            .any(|problem| problem.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}
