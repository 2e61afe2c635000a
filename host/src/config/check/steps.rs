//! Event time, windows and rules: their values, and what they see.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::file::join;
use super::super::raw;
use super::super::shape::nearest;
use super::super::texts;
use super::super::validated::{Emit, PluginConfig, RuleConfig, StepInput, TableConfig, WindowConfig};
use super::Check;
use crate::event_time::{DeduplicateSettings, EventTimeSettings, Policy, WindowKind};
use crate::model::Span;

/// What windows and rules may see, by name.
pub(super) struct Inputs<'a> {
    pub(super) tables: &'a [TableConfig],
    pub(super) chunk_bytes: Option<u64>,
    pub(super) has_event_time: bool,
}

/// A window whose input is a name yet.
type Named = (WindowConfig, Option<String>);

impl Check<'_> {
    pub(super) fn event_time(
        &mut self,
        raw: raw::EventTime,
    ) -> (Option<EventTimeSettings>, Option<DeduplicateSettings>) {
        let at = |key: &str| format!("event_time.{key}");
        let deduplicate = raw.deduplicate.and_then(|deduplicate| {
            let path = "event_time.deduplicate.by";
            if deduplicate.by.as_ref().is_some_and(Vec::is_empty) {
                let remedy = "name the columns in which two rows are the same, such as [\"id\"]".to_owned();
                self.wrong(path, "no column is named, so that all rows would be the same", Some(remedy));
                return None;
            }
            let by = self.names(path, deduplicate.by.unwrap_or_default());
            let within = deduplicate.within?;
            let within =
                self.text(&at("deduplicate.within"), Some(within), "a length of time", Span(0), texts::span)?;
            Some(DeduplicateSettings { by: by?, within })
        });
        let delay = raw.delay.and_then(|delay| {
            let parse = |text: &str| match text.trim() {
                "0" | "0s" => Ok(Span(0)),
                text => texts::span(text),
            };
            self.text(&at("delay"), Some(delay), "a length of time", Span(0), parse)
        });
        let minute = Duration::from_secs(60);
        let idle = self.text(&at("idle_timeout"), raw.idle_timeout, "a duration", minute, texts::duration);
        let hour = Span::of(60 * minute);
        let skew = self.text(&at("max_future_skew"), raw.max_future_skew, "a length of time", hour, texts::span);
        let policy = match raw.policy.unwrap_or(raw::Policy::Min) {
            raw::Policy::Min => Policy::Min,
            raw::Policy::Max => Policy::Max,
        };
        let settings = (|| {
            Some(EventTimeSettings {
                column: raw.column?,
                delay: delay?,
                policy,
                idle_timeout: idle?,
                max_future_skew: skew?,
            })
        })();
        (settings, deduplicate)
    }

    /// The windows in an order in which each comes behind its input, and the
    /// rules, or as many of them as are right.
    pub(super) fn steps(
        &mut self,
        windows: BTreeMap<String, Option<raw::Window>>,
        rules: BTreeMap<String, Option<raw::Rule>>,
        inputs: &Inputs<'_>,
    ) -> (Vec<WindowConfig>, Vec<RuleConfig>) {
        if !windows.is_empty() && !inputs.has_event_time && self.is_clean_below("event_time") {
            let remedy = "add `[event_time]` with `column` and `delay`".to_owned();
            self.wrong("window", "windows need event time", Some(remedy));
        }
        let known: Vec<String> = windows.keys().cloned().collect();
        let mut named: BTreeMap<String, Named> = BTreeMap::new();
        for (name, raw) in windows {
            let path = join("window", &name);
            self.step_name(&path, &name);
            if inputs.tables.iter().any(|table| table.name == name) {
                let remedy = "give one of them another name, so that an `input` can name it".to_owned();
                self.wrong(&path, "a table and a window have the same name", Some(remedy));
            }
            if let Some(window) = raw.and_then(|raw| self.window(&path, &name, raw, inputs)) {
                named.insert(name, window);
            }
        }
        let windows = self.in_order(named, &known, inputs.tables);
        let mut checked = Vec::new();
        for (name, raw) in rules {
            let path = join("rule", &name);
            self.step_name(&path, &name);
            checked.extend(raw.and_then(|raw| self.rule(&path, name, raw, inputs, &windows, &known)));
        }
        (windows, checked)
    }

    fn window(&mut self, path: &str, name: &str, raw: raw::Window, inputs: &Inputs<'_>) -> Option<Named> {
        let kind = self.window_kind(path, &raw);
        let key = self.names(&join(path, "key"), raw.key.unwrap_or_default());
        let plugin = raw::Plugin {
            plugin: raw.plugin,
            sha256: raw.sha256,
            config: raw.config,
            limits: raw.limits,
            watch: raw.watch,
            shadow: raw.shadow,
            probation: raw.probation,
            grants: raw.grants,
        };
        let plugin = self.plugin(path, format!("window.{name}"), plugin, inputs.chunk_bytes);
        let mut table = |key: &str, step: String, raw: Option<raw::Table>| match raw {
            Some(raw) => self.table(&join(path, key), step, raw).map(Some),
            None => Some(None),
        };
        let late = table("late", format!("window.{name}.late"), raw.late);
        let table = table("table", format!("window.{name}"), raw.table);
        let window = WindowConfig {
            name: name.to_owned(),
            input: StepInput::Rows,
            kind: kind?,
            key: key?,
            plugin: plugin?,
            emit: raw.emit.unwrap_or(Emit::OnClose),
            table: table?,
            late: late?,
        };
        Some((window, raw.input))
    }

    fn window_kind(&mut self, path: &str, raw: &raw::Window) -> Option<WindowKind> {
        let at = |key: &str| join(path, key);
        let mut span = |key: &str, text: &Option<String>, parse: fn(&str) -> Result<Span, String>| match text {
            Some(text) => self.text(&at(key), Some(text.clone()), "a length of time", Span(0), parse).map(Some),
            None if self.file.has(&at(key)) => None,
            None => Some(None),
        };
        let gap = span("gap", &raw.gap, texts::span)?;
        let size = span("size", &raw.size, texts::span)?;
        let slide = span("slide", &raw.slide, texts::span)?;
        let offset = span("offset", &raw.offset, texts::offset)?;
        let (Some(size), None) = (size, gap) else {
            let Some(gap) = gap else {
                let remedy = "say how long a window is with `size`, or add a `gap` for sessions".to_owned();
                self.wrong(path, "the window has no size", Some(remedy));
                return None;
            };
            for key in ["size", "slide", "offset"].into_iter().filter(|key| self.file.has(&at(key))) {
                let message = format!("a session has a `gap` and no `{key}`");
                self.wrong(&at(key), message, Some(format!("leave out `gap` or `{key}`")));
            }
            return Some(WindowKind::Session { gap });
        };
        let (slide, offset) = (slide.unwrap_or(size), offset.unwrap_or(Span(0)));
        if slide > size {
            let remedy = "make it as long as `size` or shorter".to_owned();
            self.wrong(&at("slide"), "rows between two windows would be lost", Some(remedy));
            return None;
        }
        if offset.0.abs() >= slide.0 {
            let remedy = format!("allowed: more than -{slide} and less than {slide}");
            self.wrong(&at("offset"), "the offset is not less than one slide", Some(remedy));
            return None;
        }
        if size.0 / slide.0 > MAX_WINDOWS_OF_A_ROW {
            let message = format!("each row would be in {} windows", size.0 / slide.0);
            let remedy = format!("at most {MAX_WINDOWS_OF_A_ROW} are allowed: lengthen `slide`");
            self.wrong(&at("slide"), message, Some(remedy));
            return None;
        }
        Some(WindowKind::Aligned { size, slide, offset })
    }

    fn rule(
        &mut self,
        path: &str,
        name: String,
        raw: raw::Rule,
        inputs: &Inputs<'_>,
        windows: &[WindowConfig],
        known: &[String],
    ) -> Option<RuleConfig> {
        let step = format!("rule.{name}");
        let input = match raw.input {
            None => Some(StepInput::Rows),
            Some(input) => self.input(path, &input, inputs.tables, windows, known),
        };
        let key = self.names(&join(path, "key"), raw.key.unwrap_or_default());
        let forget = join(path, "forget_after");
        let forget_after = match raw.forget_after {
            Some(text) => self.text(&forget, Some(text), "a length of time", Span(0), texts::span).map(Some),
            None => (!self.file.has(&forget)).then_some(None),
        };
        if forget_after.flatten().is_some() && !inputs.has_event_time && self.is_clean_below("event_time") {
            let remedy = "add `[event_time]` with `column` and `delay`".to_owned();
            self.wrong(&forget, "only event time tells how old something is", Some(remedy));
        }
        let plugin = raw::Plugin {
            plugin: raw.plugin,
            sha256: raw.sha256,
            config: raw.config,
            limits: raw.limits,
            watch: raw.watch,
            shadow: raw.shadow,
            probation: raw.probation,
            grants: raw.grants,
        };
        let plugin: Option<PluginConfig> = self.plugin(path, step.clone(), plugin, inputs.chunk_bytes);
        let table = raw.table.and_then(|table| self.table(&join(path, "table"), step, table));
        let notify = self.notify(&join(path, "notify"), raw.notify, key.as_deref());
        Some(RuleConfig {
            name,
            input: input?,
            key: key?,
            forget_after: forget_after?,
            plugin: plugin?,
            table: table?,
            notify: notify?,
        })
    }

    /// What an `input` names.
    fn input(
        &mut self,
        path: &str,
        name: &str,
        tables: &[TableConfig],
        windows: &[WindowConfig],
        known: &[String],
    ) -> Option<StepInput> {
        if let Some(index) = windows.iter().position(|window| window.name == *name) {
            return Some(StepInput::Window(index));
        }
        if let Some(index) = tables.iter().position(|table| table.name == *name) {
            return Some(StepInput::Table(index));
        }
        let path = join(path, "input");
        // A window or table that is there and is wrong is told already.
        if !known.iter().any(|window| window == name) && self.is_clean_below(&join("table", name)) {
            let names = || tables.iter().map(|table| table.name.as_str()).chain(known.iter().map(String::as_str));
            let list = || names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            let shown = self.file.shown(&path, name);
            let remedy = match nearest(name, names()) {
                Some(nearest) if !self.file.is_interpolated(&path) => format!("did you mean \"{nearest}\"?"),
                _ => format!("allowed: {}; without `input` it sees all rows", list()),
            };
            self.wrong(&path, format!("{shown} names no table and no window"), Some(remedy));
        }
        None
    }

    /// The windows, each behind the one that is its input.
    fn in_order(
        &mut self,
        mut left: BTreeMap<String, Named>,
        known: &[String],
        tables: &[TableConfig],
    ) -> Vec<WindowConfig> {
        let mut ordered: Vec<WindowConfig> = Vec::new();
        loop {
            let waits = |input: &Option<String>| input.as_ref().is_some_and(|input| left.contains_key(input));
            let ready = left.iter().find(|(_, (_, input))| !waits(input)).map(|(name, _)| name.clone());
            let Some((mut window, input)) = ready.and_then(|name| left.remove(&name)) else { break };
            let path = join("window", &window.name);
            match input {
                None => ordered.push(window),
                Some(input) => {
                    if let Some(input) = self.input(&path, &input, tables, &ordered, known) {
                        window.input = input;
                        ordered.push(window);
                    }
                }
            }
        }
        for (name, _) in left {
            let remedy = "let one of them see a table or all rows".to_owned();
            self.wrong(&join(&join("window", &name), "input"), "windows that see each other", Some(remedy));
        }
        ordered
    }

    fn step_name(&mut self, path: &str, name: &str) {
        if !texts::is_name(name) {
            let shown = self.file.shown("", name);
            let remedy = "use letters, digits, `_` and `-`, with a letter or `_` first".to_owned();
            self.wrong(path, format!("{shown} cannot name a step"), Some(remedy));
        }
    }

    /// Names of columns, each once.
    pub(super) fn names(&mut self, path: &str, raw: Vec<Option<String>>) -> Option<Vec<String>> {
        let count = raw.len();
        let mut names: Vec<String> = Vec::with_capacity(count);
        for (index, name) in raw.into_iter().enumerate() {
            let Some(name) = name else { continue };
            if names.contains(&name) {
                let path = join(path, &index.to_string());
                let shown = self.file.shown(&path, &name);
                self.wrong(&path, format!("{shown} is there twice"), Some("keep one of them".to_owned()));
            } else {
                names.push(name);
            }
        }
        (names.len() == count && (count > 0 || !self.file.has(path) || self.is_clean_below(path))).then_some(names)
    }
}

/// More windows for each row are a mistake.
const MAX_WINDOWS_OF_A_ROW: i64 = 100;
