//! The second check of a file: what its values mean, alone and together.
//!
//! Collects every problem and goes on. A value that is missing or wrong gives
//! `None`, and comparisons with it are left out, so that one mistake is one
//! problem.

mod event_hubs;
mod notify;
mod plugins;
mod schema;
mod sources;
mod steps;
mod tables;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::file::PipelineFile;
use super::problem::Problem;
use super::raw;
use super::texts;
use super::validated::{OnError, Pipeline, ServeConfig, SourceConfig, TableEvolution, Trigger};
use crate::env::{Location, available_cores};
use crate::source::{ChunkBounds, EpochBounds};

use self::sources::ChosenSource;
use self::steps::Inputs;
use super::Surroundings;

/// A shorter token can be guessed.
const MIN_TOKEN_CHARS: usize = 16;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Offsets into a chunk are 32 bits, as Arrow and the plugin contract have them.
const MAX_OFFSET: u64 = i32::MAX as u64;

/// What the checks look at, and what they found.
pub(super) struct Check<'a> {
    file: &'a PipelineFile,
    /// The folder that relative paths are relative to.
    base: &'a Path,
    builtins: &'a [&'a str],
    surroundings: &'a dyn Surroundings,
    problems: Vec<Problem>,
    /// What becomes of columns that a table does not have, unless it says so.
    evolution: TableEvolution,
}

impl<'a> Check<'a> {
    /// A check that starts with the problems that are already known.
    pub(super) fn new(
        file: &'a PipelineFile,
        base: &'a Path,
        builtins: &'a [&'a str],
        surroundings: &'a dyn Surroundings,
        problems: Vec<Problem>,
    ) -> Self {
        Self { file, base, builtins, surroundings, problems, evolution: TableEvolution::Fixed }
    }

    /// The pipeline, if nothing at all is missing, and all problems.
    pub(super) fn pipeline(mut self, raw: raw::File) -> (Option<Pipeline>, Vec<Problem>) {
        let pipeline = self.sections(raw);
        (pipeline, self.problems)
    }

    fn sections(&mut self, raw: raw::File) -> Option<Pipeline> {
        let general = raw.pipeline.map(|pipeline| self.general(pipeline));
        let chunk_bytes = general.as_ref().and_then(|general| general.chunk_bytes);
        let schema = raw.source.as_ref().and_then(|source| source.files.as_ref()).and_then(|files| self.schema(files));
        let has_columns =
            raw.source.as_ref().and_then(|source| source.files.as_ref()).is_some_and(raw::Files::have_columns);
        let source = raw.source.and_then(|source| self.source(source));
        let parser = self.parser(raw.parser, has_columns, chunk_bytes);
        let transforms = self.transforms(raw.transform.unwrap_or_default(), chunk_bytes);
        let tables = self.tables(raw.table.unwrap_or_default());
        let dead_letters = match raw.dead_letters {
            Some(section) => self.location("dead_letters.path", section.path),
            None => general.as_ref().and_then(|general| Some(general.checkpoint.as_ref()?.join("dead_letters"))),
        };
        let serve = raw.serve.map_or(Some(None), |serve| self.serve(serve).map(Some));
        let has_event_time = raw.event_time.is_some();
        let flush_at_end = raw.event_time.as_ref().and_then(|section| section.flush_at_end).unwrap_or(false);
        let (event_time, deduplicate) = raw.event_time.map_or((None, None), |section| self.event_time(section));
        let inputs = Inputs { tables: &tables, chunk_bytes, has_event_time };
        let (windows, rules) = self.steps(raw.window.unwrap_or_default(), raw.rule.unwrap_or_default(), &inputs);
        let checkpoint = general.as_ref().and_then(|general| general.checkpoint.as_ref());
        let config = source.as_ref().map(|source| &source.config);
        self.places(config, checkpoint, &tables, &windows, &rules, dead_letters.as_ref());
        let trigger = general.as_ref().and_then(|general| general.trigger);
        if let (Some(SourceConfig::Generator(generator)), Some(Trigger::AvailableNow)) = (config, trigger)
            && generator.events.is_none()
        {
            let remedy = "say how many `events` there are, or use another trigger".to_owned();
            self.wrong("source.generator", "an endless source never has all of it available", Some(remedy));
        }
        let ChosenSource { config: source, max_files, max_bytes } = source?;
        let general = general?;
        Some(Pipeline {
            name: general.name?,
            checkpoint: general.checkpoint?,
            trigger: general.trigger?,
            epoch_bounds: EpochBounds {
                max_files,
                max_bytes: max_bytes.or(general.max_bytes)?,
                max_events: general.max_events.unwrap_or(u64::MAX),
            },
            chunk_bounds: ChunkBounds {
                chunk_bytes: bytes(chunk_bytes?),
                max_message_bytes: bytes(general.max_message_bytes?),
            },
            threads: general.threads.unwrap_or_else(available_cores),
            on_error: general.on_error,
            max_dead_letter_ratio: general.max_dead_letter_ratio,
            source,
            schema,
            parser: if has_columns { None } else { Some(parser?) },
            transforms,
            tables,
            dead_letters: dead_letters?,
            event_time,
            deduplicate,
            flush_at_end,
            windows,
            rules,
            keep_plugins: general.keep_plugins?,
            serve: serve?,
        })
    }

    fn serve(&mut self, raw: raw::Serve) -> Option<ServeConfig> {
        let usual = SocketAddr::from(([127, 0, 0, 1], 7878));
        let address = |text: &str| {
            text.trim().parse().map_err(|_| "write an address and a port, such as \"127.0.0.1:7878\"".to_owned())
        };
        let listen = self.text("serve.listen", raw.listen, "a place to listen at", usual, address);
        let token = raw.token.map(|token| token.trim().to_owned());
        if token.as_ref().is_some_and(|token| token.len() < MIN_TOKEN_CHARS) {
            let remedy = format!("use at least {MIN_TOKEN_CHARS} characters that nobody can guess");
            self.wrong("serve.token", "the token is too short", Some(remedy));
            return None;
        }
        Some(ServeConfig { listen: listen?, token })
    }

    fn general(&mut self, raw: raw::Pipeline) -> General {
        let name = raw.name.filter(|name| !name.trim().is_empty() || self.refuse("pipeline.name", "the name is empty"));
        let chunk_bytes = self.size("pipeline.chunk", raw.chunk, MIB, 1..=MAX_OFFSET / 2);
        let max_message_bytes = self.size("pipeline.max_message", raw.max_message, 16 * MIB, 1..=MAX_OFFSET / 2);
        let max_bytes = self.size("pipeline.max_bytes_per_epoch", raw.max_bytes_per_epoch, 512 * MIB, 1..=u64::MAX);
        if let (Some(chunk), Some(message)) = (chunk_bytes, max_message_bytes)
            && chunk > message
        {
            let path = if self.file.has("pipeline.chunk") { "pipeline.chunk" } else { "pipeline.max_message" };
            self.wrong(
                path,
                format!("a chunk ({chunk} bytes) is larger than the largest message ({message} bytes)"),
                Some("lower `chunk` or raise `max_message`".to_owned()),
            );
        }
        if let (Some(chunk), Some(epoch)) = (chunk_bytes, max_bytes)
            && chunk > epoch
        {
            let path = if self.file.has("pipeline.chunk") { "pipeline.chunk" } else { "pipeline.max_bytes_per_epoch" };
            self.wrong(
                path,
                format!("a chunk ({chunk} bytes) is larger than an epoch ({epoch} bytes)"),
                Some("lower `chunk` or raise `max_bytes_per_epoch`".to_owned()),
            );
        }
        General {
            name,
            checkpoint: self.location("pipeline.checkpoint", raw.checkpoint),
            trigger: self.text("pipeline.trigger", raw.trigger, "a trigger", Trigger::Asap, texts::trigger),
            max_bytes,
            max_events: raw.max_events_per_epoch,
            chunk_bytes,
            max_message_bytes,
            threads: raw.threads.map(bytes),
            on_error: raw.on_error.unwrap_or(OnError::DeadLetter),
            max_dead_letter_ratio: raw.max_dead_letter_ratio.unwrap_or(0.1),
            keep_plugins: {
                let month = Duration::from_hours(30 * 24);
                self.text("pipeline.keep_plugins", raw.keep_plugins, "a duration", month, texts::duration)
            },
        }
    }

    /// The value of a string in one of the small languages, or its default.
    fn text<T>(
        &mut self,
        path: &str,
        text: Option<String>,
        what: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(text) = text else { return (!self.file.has(path)).then_some(default) };
        match parse(&text) {
            Ok(value) => Some(value),
            Err(remedy) => {
                self.wrong(path, format!("{} is not {what}", self.file.shown(path, &text)), Some(remedy));
                None
            }
        }
    }

    fn size(
        &mut self,
        path: &str,
        size: Option<raw::Size>,
        default: u64,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let size = match size {
            Some(raw::Size::Bytes(bytes)) => bytes,
            Some(raw::Size::Text(text)) => self.text(path, Some(text), "a size", default, texts::size)?,
            None => return self.text(path, None, "a size", default, texts::size),
        };
        if allowed.contains(&size) {
            return Some(size);
        }
        let remedy = format!("allowed: from {} to {} bytes", allowed.start(), allowed.end());
        self.wrong(path, "the size is out of range", Some(remedy));
        None
    }

    fn location(&mut self, path: &str, text: Option<String>) -> Option<Location> {
        let text = text?;
        match Location::parse(&text, self.base) {
            Ok(location) => Some(location),
            Err(error) => {
                let hidden = self.file.is_interpolated(path);
                let message =
                    if hidden { "the interpolated value is not a location".to_owned() } else { error.to_string() };
                self.wrong(path, message, Some("write a path or a URL such as \"az://container/path\"".to_owned()));
                None
            }
        }
    }

    fn wrong(&mut self, path: &str, message: impl Into<String>, remedy: Option<String>) {
        self.problems.push(self.file.problem_at(path, message, remedy));
    }

    /// Report a problem; false, so that it can stand in a condition.
    fn refuse(&mut self, path: &str, message: &str) -> bool {
        self.wrong(path, message, None);
        false
    }
}

/// The section `pipeline`; `None` is wrong, except where it means no bound.
struct General {
    name: Option<String>,
    checkpoint: Option<Location>,
    trigger: Option<Trigger>,
    max_bytes: Option<u64>,
    max_events: Option<u64>,
    chunk_bytes: Option<u64>,
    max_message_bytes: Option<u64>,
    threads: Option<usize>,
    on_error: OnError,
    max_dead_letter_ratio: f64,
    keep_plugins: Option<Duration>,
}

/// A number as the size of something in memory.
fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
