//! How a run is told: as a bar, as lines, or as JSON.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use super::run::Progress as Form;
use crate::env::Stopwatch;
use crate::pipeline::{Counts, Progress, Report, Summary, SwapEvent};

/// How often the bar is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// How the bar looks while nobody knows how much there is,
const OPEN_END: &str = "{spinner} {elapsed_precise}  {wide_msg}";
/// and when somebody does.
const BOUNDED: &str = "{elapsed_precise} [{bar:24}] {bytes} of {total_bytes}  {eta} left  {wide_msg}";

fn show(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// Tells a person, or a program, how a run goes.
pub(super) struct Reporter {
    form: Form,
    bar: ProgressBar,
    watch: Stopwatch,
    payload_bytes: u64,
    rows: u64,
    profile: Profile,
}

/// Where the time of a run went, summed over its epochs.
#[derive(Default)]
struct Profile {
    busy_us: BTreeMap<&'static str, u64>,
    /// Boundary, inside, checks of each step, in the order of the stream.
    plugins_us: Vec<(String, [u64; 3])>,
    /// Waiting for what must be durable, and the epochs as a whole.
    durable_ms: u64,
    epochs_ms: u64,
}

impl Reporter {
    pub(super) fn new(form: Form) -> Self {
        let form = match form {
            Form::Auto if std::io::stderr().is_terminal() => Form::Bar,
            Form::Auto => Form::Lines,
            form => form,
        };
        let bar = if form == Form::Bar { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if form == Form::Bar {
            show(&bar, OPEN_END);
            bar.enable_steady_tick(TICK);
        }
        Self { form, bar, watch: Stopwatch::start(), payload_bytes: 0, rows: 0, profile: Profile::default() }
    }

    /// Tell how the run ended.
    pub(super) fn end(&self, summary: &Summary) {
        self.bar.finish_and_clear();
        if !matches!(self.form, Form::Bar | Form::Lines) {
            return;
        }
        let counts = &summary.counts;
        if summary.is_interrupted {
            tell("stopped as asked; what is left is for the next run");
        }
        let text = match summary.epochs {
            0 => "nothing new".to_owned(),
            epochs => format!(
                "{} from {} in {}, {:.1} s",
                told(counts.rows, counts.dead_letters, &behind_the_rows(counts)),
                HumanBytes(counts.payload_bytes),
                counted(epochs, "epoch"),
                self.watch.elapsed().as_secs_f64(),
            ),
        };
        tell(&text);
        let notified = &summary.notified;
        if notified.waiting + notified.refused + notified.dropped > 0 {
            tell(&format!(
                "alerts: {} notified, {} wait for the next run, {} refused, {} dropped; all are in their tables",
                HumanCount(notified.delivered),
                HumanCount(notified.waiting),
                HumanCount(notified.refused),
                HumanCount(notified.dropped),
            ));
        }
    }

    /// A table of where the time went: first what threads worked, which may be
    /// more than the time that passed, then the time that passed.
    pub(super) fn profile(&self) -> String {
        let profile = &self.profile;
        let busy = |what: &str| profile.busy_us.get(what).copied().unwrap_or(0);
        let mut rows = vec![("read".to_owned(), busy("read"))];
        for (step, [boundary, inside, checks]) in &profile.plugins_us {
            rows.push((format!("{step}: boundary"), *boundary));
            rows.push((format!("{step}: plugin"), *inside));
            rows.push((format!("{step}: validate"), *checks));
        }
        rows.push(("encode".to_owned(), busy("encode")));
        let worked = rows.iter().map(|(_, us)| us).sum::<u64>().max(1);
        let mut lines = vec![format!("{:<32} {:>10} {:>7}", "threads worked", "ms", "share")];
        let row = |(what, us): &(String, u64)| format!("{what:<32} {:>10} {:>6}%", us / 1000, us * 100 / worked);
        lines.extend(rows.iter().map(row));
        lines.push(format!("\n{:<32} {:>10}", "time passed", "ms"));
        lines.push(format!("{:<32} {:>10}", "prepare and commit", profile.durable_ms));
        lines.push(format!("{:<32} {:>10}", "epochs, which overlap", profile.epochs_ms));
        lines.push(format!("{:<32} {:>10}", "the run", self.watch.elapsed().as_millis()));
        lines.join("\n")
    }
}

impl Profile {
    fn add(&mut self, progress: &Progress) {
        for (what, us) in &progress.busy_us {
            *self.busy_us.entry(what).or_default() += us;
        }
        let passed = |what: &str| progress.duration_ms.get(what).copied().unwrap_or(0);
        self.durable_ms += passed("walCommit") + passed("commitBatch");
        self.epochs_ms += progress.batch_duration;
        for plugin in &progress.plugins {
            let step = &plugin.identity.step;
            let costs = [plugin.boundary_us, plugin.inside_us, plugin.validation_us];
            match self.plugins_us.iter_mut().find(|(known, _)| known == step) {
                Some((_, total)) => total.iter_mut().zip(costs).for_each(|(total, us)| *total += us),
                None => self.plugins_us.push((step.clone(), costs)),
            }
        }
    }
}

impl Report for Reporter {
    fn planned(&mut self, left_bytes: Option<u64>) {
        let Some(left) = left_bytes.filter(|_| self.form == Form::Bar) else { return };
        if self.bar.length().is_none() {
            show(&self.bar, BOUNDED);
        }
        // Files may be compressed, so the end comes nearer or moves away a little.
        self.bar.set_length(self.payload_bytes + left);
    }

    fn chunk(&mut self, payload_bytes: u64, rows: u64) {
        self.payload_bytes += payload_bytes;
        self.rows += rows;
        if self.form == Form::Bar {
            let seconds = self.watch.elapsed().as_secs_f64().max(1e-3);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate for people"
            )]
            let rate = (self.payload_bytes as f64 / seconds) as u64;
            self.bar.set_position(self.payload_bytes);
            self.bar.set_message(format!("{} rows  {}/s", HumanCount(self.rows), HumanBytes(rate)));
        }
    }

    fn epoch(&mut self, progress: &Progress) {
        self.profile.add(progress);
        match self.form {
            Form::Lines => tell(&line(progress)),
            Form::Json => {
                if let Ok(json) = serde_json::to_string(progress) {
                    let _ = writeln!(std::io::stdout(), "{json}");
                }
            }
            Form::Auto | Form::Bar | Form::None => {}
        }
    }

    fn swap(&mut self, event: &SwapEvent) {
        if matches!(self.form, Form::Lines | Form::Bar) {
            self.bar.suspend(|| tell(&event.line()));
        }
    }
}

fn line(progress: &Progress) -> String {
    let files = progress.sources.first().and_then(|source| source.num_files);
    let files = files.map_or(String::new(), |files| format!(" in {}", counted(files, "file")));
    let closed = progress.state_operators.iter().filter(|step| step.operator_name.starts_with("window."));
    let behind = [
        (progress.num_lost_messages, "lost message"),
        (closed.map(|step| step.num_rows_removed).sum(), "window"),
        (progress.state_operators.iter().map(|step| step.num_alerts).sum(), "alert"),
    ];
    format!(
        "epoch {}: {}{files}, {}, {}, {}",
        progress.batch_id,
        counted(progress.num_input_rows, "message"),
        told(progress.num_output_rows, progress.num_dead_letters, &behind),
        HumanBytes(progress.num_input_bytes),
        match progress.batch_duration {
            ms @ ..10_000 => format!("{ms} ms"),
            ms => HumanDuration(Duration::from_millis(ms)).to_string(),
        },
    )
}

/// What was lost before the rows, what became of them in the steps behind them, and
/// what did not.
fn behind_the_rows(counts: &Counts) -> [(u64, &'static str); 6] {
    [
        (counts.lost, "lost message"),
        (counts.windows, "window"),
        (counts.alerts, "alert"),
        (counts.late, "late row"),
        (counts.repeated, "repeated row"),
        (counts.untimed, "row without event time"),
    ]
}

/// Rows and dead letters, and of the rest what there was.
fn told(rows: u64, dead_letters: u64, rest: &[(u64, &'static str)]) -> String {
    let rest = rest.iter().filter(|(count, _)| *count > 0).map(|(count, what)| counted(*count, what));
    let all = [counted(rows, "row"), counted(dead_letters, "dead letter")].into_iter().chain(rest);
    all.collect::<Vec<_>>().join(", ")
}

/// A number of things: `1 row`, `2 rows`, `2 rows without event time`.
fn counted(count: u64, what: &str) -> String {
    let (noun, rest) = what.split_once(" without ").unwrap_or((what, ""));
    let rest = if rest.is_empty() { String::new() } else { format!(" without {rest}") };
    format!("{} {noun}{}{rest}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// With standard error gone there is nobody left to tell.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
