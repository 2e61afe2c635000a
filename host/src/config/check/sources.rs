//! The source: exactly one, and its values.

use std::time::Duration;

use super::super::raw;
use super::super::texts;
use super::super::validated::SourceConfig;
use super::{Check, bytes};
use crate::env::Location;
use crate::source::files::{
    Clean, CleanSource, Existing, FileFormat, FilesSettings, Overwrites, check_move_target, check_partition_column,
};
use crate::source::generator::GeneratorSettings;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The source and what one epoch takes of it.
pub(super) struct ChosenSource {
    pub(super) config: SourceConfig,
    pub(super) max_files: usize,
    /// None: as the pipeline has it.
    pub(super) max_bytes: Option<u64>,
}

impl ChosenSource {
    fn unbounded(config: SourceConfig) -> Self {
        Self { config, max_files: usize::MAX, max_bytes: None }
    }
}

impl Check<'_> {
    /// The source, and what one epoch takes of it.
    pub(super) fn source(&mut self, raw: raw::Source) -> Option<ChosenSource> {
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
        let hub = hub.map(|hub| ChosenSource::unbounded(SourceConfig::EventHubs(Box::new(hub))));
        let files = raw.files.and_then(|files| self.files(files));
        let generator = raw.generator.and_then(|generator| self.generator(&generator));
        let generator = generator.map(|generator| ChosenSource::unbounded(SourceConfig::Generator(generator)));
        hub.or(files).or(generator).filter(|_| named.len() == 1)
    }

    fn files(&mut self, raw: raw::Files) -> Option<ChosenSource> {
        let max_files = bytes(raw.max_files_per_epoch.unwrap_or(1000));
        let bytes_path = "source.files.max_bytes_per_epoch";
        let has_max_bytes = self.file.has(bytes_path);
        let max_bytes = self.size(bytes_path, raw.max_bytes_per_epoch, 1, 1..=u64::MAX);
        let folder = self.location("source.files.path", raw.path);
        let all = "**".to_owned();
        let glob = self.text("source.files.glob", raw.glob, "a pattern", all, texts::glob);
        let every = folder.as_ref().map_or(Duration::from_secs(5), FilesSettings::default_poll_interval);
        let poll = self.text("source.files.poll_interval", raw.poll_interval, "a duration", every, texts::duration);
        let age = |text: &str| texts::duration(text).map(Some);
        let max_age = self.text("source.files.max_file_age", raw.max_file_age, "a duration", None, age);
        let backfill = "source.files.backfill_interval";
        let backfill = self.text(backfill, raw.backfill_interval, "a duration", DAY, texts::duration);
        let retention = "source.files.clean_source_retention";
        let month = DAY * 30;
        let retention = self.text(retention, raw.clean_source_retention, "a duration", month, texts::duration_or_zero);
        let quote = self.text("source.files.csv_quote", raw.csv_quote, "a quote", Some(b'"'), texts::quote);
        let partition_columns = self.partition_columns(raw.partition_columns.unwrap_or_default());
        let clean = self.clean_source(raw.clean_source, raw.clean_source_move_to, folder.as_ref());
        let (folder, retention, backfill_interval, max_bytes) = (folder?, retention?, backfill?, max_bytes?);
        let max_bytes = has_max_bytes.then_some(max_bytes);
        let settings = FilesSettings {
            glob: glob?,
            format: match raw.format.unwrap_or(raw::Format::Json) {
                raw::Format::Json => FileFormat::Json,
                raw::Format::JsonLines => FileFormat::JsonLines,
                raw::Format::Csv => FileFormat::Csv,
                raw::Format::Text => FileFormat::Text,
                raw::Format::Binary => FileFormat::Binary,
                raw::Format::Parquet => FileFormat::Parquet,
            },
            csv_quote: quote?,
            partition_columns: partition_columns?,
            poll_interval: poll?,
            existing: if raw.include_existing.unwrap_or(true) { Existing::Read } else { Existing::PassedOver },
            overwrites: if raw.allow_overwrites.unwrap_or(false) { Overwrites::Read } else { Overwrites::PassedOver },
            max_age: max_age?,
            backfill_interval: raw.use_incremental_listing.unwrap_or(false).then_some(backfill_interval),
            clean: clean?.map(|how| CleanSource { how, retention }),
            folder,
        };
        Some(ChosenSource { config: SourceConfig::Files(Box::new(settings)), max_files, max_bytes })
    }

    fn partition_columns(&mut self, raw: Vec<Option<String>>) -> Option<Vec<String>> {
        let mut names = Vec::with_capacity(raw.len());
        let mut is_sound = true;
        for (index, name) in raw.into_iter().enumerate() {
            let path = format!("source.files.partition_columns.{index}");
            match name.map(|name| (check_partition_column(&names, &name), name)) {
                Some((Ok(()), name)) => names.push(name),
                Some((Err(why), _)) => {
                    let why = if self.file.is_interpolated(&path) { "the name cannot be used".to_owned() } else { why };
                    self.wrong(&path, why, Some("name a folder `NAME=value` on the way to the files".to_owned()));
                    is_sound = false;
                }
                None => is_sound = false,
            }
        }
        is_sound.then_some(names)
    }

    /// How files go, if they do; none is wrong.
    fn clean_source(
        &mut self,
        raw: Option<raw::CleanSource>,
        target: Option<String>,
        folder: Option<&Location>,
    ) -> Option<Option<Clean>> {
        let path = "source.files.clean_source_move_to";
        let has_target = self.file.has(path);
        let target = self.location(path, target);
        match raw {
            Some(raw::CleanSource::Move) if !has_target => {
                let remedy = "say where to with `clean_source_move_to`".to_owned();
                self.wrong("source.files.clean_source", "files cannot be moved to nowhere", Some(remedy));
                None
            }
            Some(raw::CleanSource::Move) => {
                let target = target?;
                match check_move_target(folder?, &target) {
                    Ok(()) => Some(Some(Clean::Move(target))),
                    Err(why) => {
                        let why =
                            if self.file.is_interpolated(path) { "files cannot go there".to_owned() } else { why };
                        let remedy = "name a folder beside that of the source, in the same store".to_owned();
                        self.wrong(path, why, Some(remedy));
                        None
                    }
                }
            }
            None | Some(raw::CleanSource::Off | raw::CleanSource::Delete) if has_target => {
                let remedy = "add `clean_source = \"move\"`, or leave it out".to_owned();
                self.wrong(path, "nothing is moved", Some(remedy));
                None
            }
            Some(raw::CleanSource::Delete) => Some(Some(Clean::Delete)),
            Some(raw::CleanSource::Off) => Some(None),
            // What was there and wrong is null.
            None => (!self.file.has("source.files.clean_source")).then_some(None),
        }
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
