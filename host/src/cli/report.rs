//! How a run is told: as a bar, as lines, or as JSON.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use super::run::Progress as Form;
use crate::env::Stopwatch;
use crate::pipeline::{Progress, Report, Summary};

/// How often the bar is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// How the bar looks while nobody knows how much there is,
const OPEN_END: &str = "{spinner} {elapsed_precise}  {msg}";
/// and when somebody does.
const BOUNDED: &str = "{elapsed_precise} [{bar:32}] {bytes} of {total_bytes}  {msg}  {eta} left";

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
    steps_ms: BTreeMap<&'static str, u64>,
    plugins_us: BTreeMap<String, [u64; 3]>,
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
                "{} rows, {} dead letters from {} in {epochs} epoch{}, {:.1} s",
                HumanCount(counts.rows),
                HumanCount(counts.dead_letters),
                HumanBytes(counts.payload_bytes),
                if epochs == 1 { "" } else { "s" },
                self.watch.elapsed().as_secs_f64(),
            ),
        };
        tell(&text);
    }

    /// A table of where the time went.
    pub(super) fn profile(&self) -> String {
        let mut lines = vec![format!("{:<32} {:>12}", "step (wall time)", "ms")];
        lines.extend(self.profile.steps_ms.iter().map(|(step, ms)| format!("{step:<32} {ms:>12}")));
        lines.push(String::new());
        lines.push(format!(
            "{:<32} {:>12} {:>12} {:>12}",
            "plugin (all workers)", "inside ms", "boundary ms", "checks ms"
        ));
        for (step, [inside, boundary, validation]) in &self.profile.plugins_us {
            let ms = |us: &u64| us / 1000;
            lines.push(format!("{step:<32} {:>12} {:>12} {:>12}", ms(inside), ms(boundary), ms(validation)));
        }
        lines.join("\n")
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
        for (step, ms) in &progress.duration_ms {
            *self.profile.steps_ms.entry(step).or_default() += ms;
        }
        for plugin in &progress.plugins {
            let total = self.profile.plugins_us.entry(plugin.identity.step.clone()).or_default();
            for (total, us) in total.iter_mut().zip([plugin.inside_us, plugin.boundary_us, plugin.validation_us]) {
                *total += us;
            }
        }
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
}

fn line(progress: &Progress) -> String {
    let files = progress.sources.first().and_then(|source| source.num_files);
    let files = files.map_or(String::new(), |files| format!(" in {} files", HumanCount(files)));
    format!(
        "epoch {}: {} messages{files}, {} rows, {} dead letters, {}, {}",
        progress.batch_id,
        HumanCount(progress.num_input_rows),
        HumanCount(progress.num_output_rows),
        HumanCount(progress.num_dead_letters),
        HumanBytes(progress.num_input_bytes),
        match progress.batch_duration {
            ms @ ..10_000 => format!("{ms} ms"),
            ms => HumanDuration(Duration::from_millis(ms)).to_string(),
        },
    )
}

/// With standard error gone there is nobody left to tell.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
