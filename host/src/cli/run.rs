//! `weir run`: run a pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::report::Reporter;
use crate::config::{NotifyConfig, Pipeline, PipelineFile, Trigger};
use crate::env::{self, Env, Task};
use crate::pipeline::{self, Ask, SwapSender};
use crate::serve::{Board, Site, listen};
use crate::{Error, Result};

/// Rows of each table that `--show` prints.
const SHOWN_ROWS: usize = 10;
/// What a shell makes of a process that Ctrl-C has ended.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// Run a pipeline.
///
/// Goes on where the last run stopped. The first Ctrl-C commits what is prepared
/// and abandons the epoch in the making, the second one ends at once; neither
/// loses or doubles a row.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir run pipeline.toml
  weir run pipeline.toml --show
  weir run pipeline.toml --progress json 2>/dev/null | jq .numInputRows")]
pub(super) struct Args {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the first rows of each table at the end.
    #[arg(long)]
    show: bool,
    /// Print where the time went at the end.
    #[arg(long)]
    profile: bool,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    progress: Progress,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Progress {
    /// A bar on a terminal, lines elsewhere.
    Auto,
    /// A bar.
    Bar,
    /// One line for each epoch.
    Lines,
    /// One JSON object for each epoch.
    Json,
    /// Nothing.
    None,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let (pipeline, file) = super::load(&args.file)?;
    let env = Env::command();
    refuse_mixed_output(&pipeline, args.progress)?;
    let mut reporter = Reporter::new(form(&pipeline, args.progress));
    super::block_on(async {
        let shutdown = stop_on_signals()?;
        let (sender, swaps) = pipeline::swaps();
        let board = Board::default();
        let _served = serve(&pipeline, &args.file, &board, &sender).await?;
        reload_on_hangup(args.file.clone(), sender)?;
        let mut report = board.beside(&mut reporter);
        let summary = pipeline::run_with_swaps(&pipeline, &file, &env, (shutdown, swaps), &mut report).await?;
        drop(report);
        reporter.end(&summary);
        if summary.is_interrupted && pipeline.trigger == Trigger::AvailableNow {
            std::process::exit(INTERRUPTED_EXIT_CODE);
        }
        if args.profile {
            super::print(&reporter.profile())?;
        }
        if args.show {
            for table in pipeline.all_tables() {
                super::print(&format!("\n{}", table.location))?;
                super::table::print_rows(&env, &table.location, SHOWN_ROWS, &[], super::table::Form::Table).await?;
            }
        }
        Ok(())
    })
}

/// Alerts and progress records would be lines of JSON in one stream.
fn refuse_mixed_output(pipeline: &Pipeline, form: Progress) -> Result<()> {
    if form == Progress::Json && prints_alerts(pipeline) {
        return Err(Error::config(
            "`--progress json` and a rule with `stdout = true` both write to the standard output: \
             send the alerts to a file, or leave out `--progress json`",
        ));
    }
    Ok(())
}

/// A bar would be drawn over the alerts that are printed.
fn form(pipeline: &Pipeline, form: Progress) -> Progress {
    if form == Progress::Auto && prints_alerts(pipeline) { Progress::Lines } else { form }
}

fn prints_alerts(pipeline: &Pipeline) -> bool {
    pipeline.rules.iter().flat_map(|rule| &rule.notify).any(|notify| matches!(notify, NotifyConfig::Stdout))
}

/// Answer over HTTP, if the pipeline is to.
async fn serve(pipeline: &Pipeline, file: &Path, board: &Board, sender: &SwapSender) -> Result<Option<Task>> {
    let Some(settings) = &pipeline.serve else { return Ok(None) };
    let file = file.to_owned();
    let reload = move || -> BoxFuture<'static, _> { Box::pin(read_again(file.clone())) };
    let site = Site {
        name: pipeline.name.clone(),
        board: board.clone(),
        run: sender.clone(),
        token: settings.token.as_deref().map(Arc::from),
        reload: Arc::new(reload),
    };
    let (address, task) = listen(settings.listen, site).await?;
    tracing::info!("listening at http://{address}");
    Ok(Some(task))
}

async fn read_again(file: PathBuf) -> Result<(Pipeline, PipelineFile)> {
    env::blocking(move || super::load(&file)).await
}

/// Take over the plugins that the file names whenever a signal says so.
fn reload_on_hangup(file: PathBuf, sender: SwapSender) -> Result<()> {
    let unheard = |error| Error::unavailable("cannot listen for signals").because(error);
    let mut hangups = signal(SignalKind::hangup()).map_err(unheard)?;
    env::detached(async move {
        while hangups.recv().await.is_some() {
            let asked = match read_again(file.clone()).await {
                Ok(reading) => sender.ask(Ask::Reload(Box::new(reading))).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(events) => tracing::info!("the pipeline file was read again: {} plugins changed", events.len()),
                Err(error) => tracing::error!("the pipeline file was read again, and nothing was changed: {error}"),
            }
        }
    });
    Ok(())
}

/// A watch that says so at the first signal to stop; the second one ends the
/// process.
fn stop_on_signals() -> Result<watch::Receiver<bool>> {
    let unheard = |error| Error::unavailable("cannot listen for signals").because(error);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(unheard)?;
    let (stop, stopped) = watch::channel(false);
    env::detached(async move {
        for count in 1.. {
            tokio::select! {
                Some(()) = interrupts.recv() => {}
                Some(()) = terminations.recv() => {}
            }
            if count > 1 {
                std::process::exit(INTERRUPTED_EXIT_CODE);
            }
            tracing::warn!("stopping: what is prepared is committed, the epoch in the making is abandoned");
            stop.send_replace(true);
        }
    });
    Ok(stopped)
}
