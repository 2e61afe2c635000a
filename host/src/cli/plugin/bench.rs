//! `weir plugin bench`: measure plugins beside the bundled ones.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{library, tell, try_out};
use crate::cli::print;
use crate::cli::table::columns_as_table;
use crate::plugin::{Library, Plugin, Role};
use crate::workbench::{
    Case, Contest, Figures, Input, PROJECT_FILE, RoleName, Rows, as_columns, first_case, from_lines, measure,
    messages_of_lines,
};
use crate::{Error, Result};

/// Measure plugins of one role beside the bundled one of that role, in one run.
///
/// A project is measured over the input of its first case, repeated to the size of
/// a chunk; a component over generated readings. With those a parser also stands
/// beside a native loop of serde_json, which is 1.00. What counts is CPU time.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin bench
  weir plugin bench parser-rust parser-python parser-c --readings
  weir plugin bench lines.wasm --input messages.jsonl
  weir plugin bench builtin:statistics --config '{\"temperature\":[\"p99\"]}'")]
pub(super) struct Args {
    /// Projects, components, or `builtin:NAME`, all of one role.
    #[arg(value_name = "FOLDER|FILE", default_value = ".")]
    plugins: Vec<String>,
    /// The role, where a component has several.
    #[arg(long, value_enum)]
    role: Option<RoleName>,
    /// The configuration of all of them, a JSON object.
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Messages or rows to measure with, one JSON value a line, as in a case.
    #[arg(long, value_name = "FILE", conflicts_with = "readings")]
    input: Option<PathBuf>,
    /// The columns of the rows in `--input`, such as `deviceId string, lat double`.
    #[arg(long, value_name = "COLUMNS", requires = "input")]
    schema: Option<String>,
    /// The columns that make the groups of the rows in `--input`.
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "input")]
    key: Vec<String>,
    /// Measure projects over generated readings, too.
    #[arg(long)]
    readings: bool,
    /// One JSON object for each of them.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let library = library()?;
    let mut plugins: Vec<(String, Plugin)> = Vec::new();
    for text in &args.plugins {
        let plugin = try_out(&library, text)?;
        plugins.push((named(text, &plugin), plugin));
    }
    let role = role_of(args, &plugins)?;
    let case = case_of(args, role)?;
    let contest = contest(args, role, case.as_ref(), &library)?;
    let config = match (&args.config, &case) {
        (Some(text), _) => super::run::config_of(text)?,
        (None, Some(case)) => case.config.clone(),
        (None, None) => json!({}),
    };
    let mut contenders: Vec<_> = contest.native().into_iter().collect();
    match contest.bundled(&library)? {
        Ok(bundled) => contenders.push(bundled),
        Err(why) => tell(&why),
    }
    for (name, plugin) in &plugins {
        contenders.push(contest.plugin(name.clone(), plugin, config.clone())?);
    }
    if !args.json {
        print(&format!("{}, {}, one thread, CPU time", role.name(), contest.description()))?;
    }
    let figures = measure(contenders)?;
    match args.json {
        true => figures.iter().try_for_each(|one| print(&as_json(one, &figures[0]).to_string())),
        false => print(&as_table(&figures)?),
    }
}

/// What a plugin is called in the table.
fn named(text: &str, plugin: &Plugin) -> String {
    match text {
        "." => plugin.name().to_owned(),
        text => text.trim_end_matches('/').to_owned(),
    }
}

fn role_of(args: &Args, plugins: &[(String, Plugin)]) -> Result<Role> {
    if let Some(role) = args.role {
        return Ok(role.role());
    }
    let role = super::run::role_of(args.plugins.first().map_or(".", String::as_str), &plugins[0].1)?;
    match plugins.iter().find(|(_, plugin)| !plugin.roles().contains(&role)) {
        None => Ok(role),
        Some((name, _)) => {
            Err(Error::config(format!("{name} is no {}: plugins of one role are measured together", role.name())))
        }
    }
}

/// The first case of the first project, which says what to measure with.
fn case_of(args: &Args, role: Role) -> Result<Option<Case>> {
    if args.readings || args.input.is_some() {
        return Ok(None);
    }
    match args.plugins.iter().map(Path::new).find(|path| path.join(PROJECT_FILE).is_file()) {
        Some(project) => first_case(project, role),
        None => Ok(None),
    }
}

fn contest(args: &Args, role: Role, case: Option<&Case>, library: &Library) -> Result<Contest> {
    if let Some(case) = case {
        return Contest::of(role, &case.input);
    }
    let Some(path) = &args.input else { return Contest::of_readings(role, library) };
    let place = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::config(format!("cannot read {place}")).because(error))?;
    let input = match (role, &args.schema) {
        (Role::Parser | Role::Inference, _) => Input::Messages(messages_of_lines(&text, &place)?),
        (_, Some(schema)) => {
            let schema =
                as_columns(std::slice::from_ref(schema)).map_err(|why| Error::config(format!("--schema: {why}")))?;
            Input::Rows(Rows { rows: from_lines(&text, &schema, &place)?, key: args.key.clone() })
        }
        (_, None) => return Err(Error::config("say which columns the rows of `--input` have, with `--schema`")),
    };
    Contest::of(role, &input)
}

fn as_json(one: &Figures, base: &Figures) -> Value {
    let calls = one.calls.as_ref();
    json!({
        "name": one.name,
        "rows": one.rows,
        "bytes": one.bytes,
        "seconds": one.seconds(),
        "rows_per_second": one.rows_per_second(),
        "mb_per_second": one.mb_per_second(),
        "relative": one.seconds() / base.seconds(),
        "call_p50_us": calls.map(|calls| calls.p50.as_micros() as u64),
        "call_p99_us": calls.map(|calls| calls.p99.as_micros() as u64),
        "memory_bytes": calls.map(|calls| calls.memory_bytes),
        "inside": calls.map(|calls| calls.shares[0]),
        "boundary": calls.map(|calls| calls.shares[1]),
        "validation": calls.map(|calls| calls.shares[2]),
    })
}

fn as_table(figures: &[Figures]) -> Result<String> {
    let names = ["", "MB/s", "rows/s", "CPU", "call p50", "call p99", "memory", "in the plugin"];
    let row = |one: &Figures| {
        let of_calls =
            |text: &dyn Fn(&crate::workbench::Calls) -> String| one.calls.as_ref().map(text).unwrap_or_default();
        [
            one.name.clone(),
            format!("{:.0}", one.mb_per_second()),
            format!("{:.0}", one.rows_per_second()),
            format!("{:.2}x", one.seconds() / figures[0].seconds()),
            of_calls(&|calls| format!("{:.2} ms", calls.p50.as_secs_f64() * 1e3)),
            of_calls(&|calls| format!("{:.2} ms", calls.p99.as_secs_f64() * 1e3)),
            of_calls(&|calls| format!("{:.1} MiB", calls.memory_bytes as f64 / f64::from(1 << 20))),
            of_calls(&|calls| format!("{:.0} %", 100.0 * calls.shares[0])),
        ]
    };
    columns_as_table(&names, figures.iter().map(row))
}
