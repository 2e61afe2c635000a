//! `weir plugin run`: try a plugin on files, or on the dead letters of a pipeline.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use serde_json::Value;

use super::{GENEROUS, library, tell, try_out};
use crate::cli::table::{as_table, columns_as_table};
use crate::cli::{block_on, load, print};
use crate::env::Env;
use crate::pipeline::kept_schema;
use crate::plugin::{Limits, Plugin, Role};
use crate::sink::delta::show;
use crate::source::files::FileFormat;
use crate::workbench::{
    Case, Fault, FaultAt, FieldsFrom, Input, Messages, Outcome, PROJECT_FILE, Project, RoleName, Rows, Trial,
    as_columns, as_lines, first_case, from_lines, messages_of_bytes,
};
use crate::{Error, Result};

/// The columns of the dead letters that are needed to try a parser again.
const LETTER: [&str; 5] = ["step", "source_place", "position", "reason", "raw"];
/// A message that is shown beside the reason why it was rejected is cut.
const MAX_SHOWN_CHARS: usize = 60;

/// Try a plugin on files, or on the dead letters of a pipeline, and print the rows,
/// alerts and rejections. Touches no checkpoint and no table.
///
/// For a parser a file is cut into messages as a pipeline with the same `format`
/// does; for the other roles it has one JSON object a line, each a row. A call may
/// take 10 s here; in a pipeline 500 ms, if `limits` say nothing else.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin run my-lines --input sample.log --format text
  weir plugin run builtin:json --input a.json --config '{\"columns\": \"deviceId string\"}'
  weir plugin run geofence --input rows.jsonl --schema 'lat double, lon double'
  weir plugin run my-lines --dead-letters pipeline.toml")]
pub(super) struct Args {
    /// A project, a component, or `builtin:NAME`.
    #[arg(value_name = "FOLDER|FILE")]
    plugin: String,
    /// Files to try it on.
    #[arg(long, value_name = "PATH", num_args = 1.., required_unless_present = "dead_letters")]
    input: Vec<PathBuf>,
    /// Try a parser on the dead letters of this pipeline.
    #[arg(long, value_name = "PIPELINE", conflicts_with = "input")]
    dead_letters: Option<PathBuf>,
    /// The role, where a component has several.
    #[arg(long, value_enum)]
    role: Option<RoleName>,
    /// The configuration, a JSON object. By default that of the project's first
    /// case, or that of the pipeline's parser.
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// How a file becomes messages; told by its name by default.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The columns of rows. By default those of the project's first case.
    #[arg(long, value_name = "COLUMNS")]
    schema: Option<String>,
    /// The columns that make the groups of rows. By default as in the first case.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    key: Vec<String>,
    /// At most so many rows, and so many rejections, are printed.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// One JSON object for each row, and all of them; rejections go to standard error.
    #[arg(long)]
    json: bool,
}

/// How a file becomes messages, as in `[source.files]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Values of JSON, pretty-printed or not.
    Json,
    /// One value of JSON a line.
    JsonLines,
    /// Records of CSV.
    Csv,
    /// One message a line.
    Text,
    /// The file is one message.
    Binary,
}

impl Format {
    fn of(path: &Path) -> Self {
        match path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::JsonLines,
            "csv" => Self::Csv,
            "txt" | "log" => Self::Text,
            _ => Self::Binary,
        }
    }

    fn of_files(self) -> FileFormat {
        match self {
            Self::Json => FileFormat::Json,
            Self::JsonLines => FileFormat::JsonLines,
            Self::Csv => FileFormat::Csv,
            Self::Text => FileFormat::Text,
            Self::Binary => FileFormat::Binary,
        }
    }
}

/// An input, and what is known of each message besides.
struct Given {
    input: Input,
    config: Option<Value>,
    /// Why each message was rejected before.
    reasons: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let plugin = try_out(&library()?, &args.plugin)?;
    let role = match args.role {
        Some(role) => role.role(),
        None => role_of(&args.plugin, &plugin)?,
    };
    plugin.require(role)?;
    let project = Path::new(&args.plugin);
    let case = match project.join(PROJECT_FILE).is_file() {
        true => first_case(project, role)?,
        false => None,
    };
    let given = given(args, role, case.as_ref())?;
    let config = match (&args.config, &given.config, &case) {
        (Some(text), _, _) => config_of(text)?,
        (None, Some(config), _) => config.clone(),
        (None, None, Some(case)) => case.config.clone(),
        (None, None, None) => Value::Object(serde_json::Map::new()),
    };
    let limits = case.as_ref().map_or_else(Limits::default, |case| case.limits);
    // Whoever tries a plugin waits for it longer than a stream does.
    let limits = Limits { deadline: limits.deadline.max(GENEROUS.deadline), ..limits };
    let now_us = Env::system().clock.now_us();
    let trial = Trial { plugin: &plugin, role, config, limits, now_us };
    let outcome = trial.run(&given.input)?;
    tell_outcome(args, role, &given, &outcome)
}

/// The role of a plugin: that of its project, or the only one that it has.
pub(super) fn role_of(text: &str, plugin: &Plugin) -> Result<Role> {
    if Path::new(text).join(PROJECT_FILE).is_file() {
        return Ok(Project::open(Path::new(text))?.role.role());
    }
    let roles: Vec<Role> = plugin.roles().iter().copied().filter(|role| *role != Role::Inference).collect();
    match roles.as_slice() {
        [role] => Ok(*role),
        [] => Err(Error::config(format!("{text} plays no role"))),
        several => {
            let names: Vec<&str> = several.iter().map(|role| role.name()).collect();
            Err(Error::config(format!("{text} can be {}: say which with `--role`", names.join(" or "))))
        }
    }
}

/// The configuration that a person has written on the command line.
pub(super) fn config_of(text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(config @ Value::Object(_)) => Ok(config),
        Ok(_) => Err(Error::config("`--config` takes a JSON object, such as '{\"separator\": \";\"}'")),
        Err(error) => Err(Error::config("`--config` is no JSON").because(error)),
    }
}

fn given(args: &Args, role: Role, case: Option<&Case>) -> Result<Given> {
    let is_parser = matches!(role, Role::Parser | Role::Inference);
    if let Some(pipeline) = &args.dead_letters {
        if !is_parser {
            return Err(Error::config("dead letters are messages, which only a parser takes"));
        }
        return dead_letters(pipeline);
    }
    let input = if is_parser { Input::Messages(messages(args, case)?) } else { Input::Rows(rows(args, case)?) };
    Ok(Given { input, config: None, reasons: Vec::new() })
}

fn messages(args: &Args, case: Option<&Case>) -> Result<Messages> {
    let mut messages = Messages::default();
    let (mut paths, mut headers): (Vec<String>, Vec<Option<String>>) = (Vec::new(), Vec::new());
    let mut positions: Vec<i64> = Vec::new();
    for path in &args.input {
        let bytes = read(path)?;
        let format = args.format.unwrap_or_else(|| Format::of(path));
        positions.extend(messages_of_bytes(&bytes, format.of_files(), &mut messages)?);
        let header = (format == Format::Csv).then(|| {
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        });
        paths.resize(messages.len(), path.display().to_string());
        headers.resize(messages.len(), header);
    }
    messages.stored = match case.map(|case| &case.input) {
        Some(Input::Messages(case)) => case.stored.clone(),
        _ => None,
    };
    let names = file_names(&paths);
    messages.fields = known_fields(vec![
        ("file_path", Arc::new(StringArray::from(paths))),
        ("file_name", Arc::new(StringArray::from(names))),
        ("position", Arc::new(Int64Array::from(positions))),
        ("header", Arc::new(StringArray::from(headers))),
    ])?;
    messages.fields_from = FieldsFrom::Host;
    Ok(messages)
}

fn file_names(paths: &[String]) -> Vec<String> {
    let name = |path: &String| Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(name).collect()
}

fn known_fields(fields: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let fields = fields.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(fields)
        .map_err(|error| Error::bug("message fields do not fit together").because(error))
}

fn rows(args: &Args, case: Option<&Case>) -> Result<Rows> {
    let of_case = match case.map(|case| &case.input) {
        Some(Input::Rows(rows)) => Some(rows),
        _ => None,
    };
    let schema = match (&args.schema, of_case) {
        (Some(text), _) => {
            as_columns(std::slice::from_ref(text)).map_err(|why| Error::config(format!("--schema: {why}")))?
        }
        (None, Some(rows)) => rows.rows.schema(),
        (None, None) => {
            let example = "`--schema 'deviceId string, temperature double'`";
            return Err(Error::config(format!("say which columns the rows have, such as {example}")));
        }
    };
    let key = match (args.key.is_empty(), of_case) {
        (true, Some(rows)) => rows.key.clone(),
        _ => args.key.clone(),
    };
    let (mut text, place) = (String::new(), args.input.iter().map(|path| path.display().to_string()));
    for path in &args.input {
        let bytes = read(path)?;
        text.push_str(std::str::from_utf8(&bytes).map_err(|error| {
            Error::data(format!("{} is no text: rows are one JSON object a line", path.display())).because(error)
        })?);
        text.push('\n');
    }
    Ok(Rows { rows: from_lines(&text, &schema, &place.collect::<Vec<_>>().join(" and "))?, key })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::config(format!("cannot read {}", path.display())).because(error))
}

/// What the dead letters of a pipeline's parser have kept, each once.
fn dead_letters(file: &Path) -> Result<Given> {
    let (pipeline, text) = load(file)?;
    let env = Env::system();
    let storage = env.storage(&pipeline.dead_letters)?;
    let columns = LETTER.map(str::to_owned);
    let batches = block_on(show::first_rows(&storage, usize::MAX, Some(&columns)))?;
    let (mut messages, mut places, mut reasons) = (Messages::default(), Vec::new(), Vec::new());
    let mut positions: Vec<i64> = Vec::new();
    let (mut seen, mut without) = (HashSet::new(), 0);
    for batch in &batches {
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_string_opt::<i32>().filter(|column| column.is_valid(row));
            column.map_or("", |column| column.value(row)).to_owned()
        };
        for row in 0..batch.num_rows() {
            let raw = batch.column(4).as_binary_opt::<i32>().filter(|raw| raw.is_valid(row));
            let position = batch.column(2).as_primitive_opt::<Int64Type>().map_or(0, |column| column.value(row));
            // What is kept may be the whole message, once for each of its parts.
            let bytes = raw.map(|raw| raw.value(row).to_vec());
            if text(0, row) != "parser" || !seen.insert((text(1, row), position, bytes)) {
                continue;
            }
            match raw {
                Some(raw) => {
                    messages.push(raw.value(row))?;
                    places.push(text(1, row));
                    positions.push(position);
                    reasons.push(text(3, row));
                }
                None => without += 1,
            }
        }
    }
    if without > 0 {
        tell(&format!("{without} dead letters are left out: they were too large to keep their bytes"));
    }
    let names = file_names(&places);
    messages.fields = known_fields(vec![
        ("file_path", Arc::new(StringArray::from(places))),
        ("file_name", Arc::new(StringArray::from(names))),
        ("position", Arc::new(Int64Array::from(positions))),
    ])?;
    messages.fields_from = FieldsFrom::Host;
    messages.stored = block_on(kept_schema(&pipeline, &text, &env))?;
    let config = pipeline.parser.map(|parser| parser.config);
    Ok(Given { input: Input::Messages(messages), config, reasons })
}

fn tell_outcome(args: &Args, role: Role, given: &Given, outcome: &Outcome) -> Result<()> {
    let rows = outcome.rows.num_rows();
    if args.json {
        as_lines(&outcome.rows).iter().try_for_each(|line| print(line))?;
    } else {
        print(&as_table(&[outcome.rows.slice(0, rows.min(args.limit))])?)?;
    }
    let inputs = match &given.input {
        Input::Messages(messages) => messages.len(),
        Input::Rows(rows) => rows.rows.num_rows(),
    };
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let from = counted(inputs, if matches!(given.input, Input::Messages(_)) { "message" } else { "row" });
    let made = counted(rows, if role == Role::Rule { "alert" } else { "row" });
    let summary = format!("{made} from {from}, {} rejected, {} failed", outcome.rejected.len(), outcome.faults.len());
    let rejected = rejections(args, given, outcome)?;
    let (out, err): (Vec<String>, Vec<String>) = match args.json {
        true => (Vec::new(), rejected.into_iter().chain([summary]).collect()),
        false => (rejected.into_iter().chain([summary]).collect(), Vec::new()),
    };
    out.iter().try_for_each(|text| print(text))?;
    err.iter().for_each(|text| tell(text));
    match outcome.faults.first() {
        None => Ok(()),
        Some(fault) => {
            Err(Error::plugin(format!("the plugin fails for {}: {}\n  = {}", fault.at, fault.reason, fault.remedy)))
        }
    }
}

/// A table of what did not become a row.
fn rejections(args: &Args, given: &Given, outcome: &Outcome) -> Result<Option<String>> {
    if outcome.rejected.is_empty() && outcome.faults.is_empty() {
        return Ok(None);
    }
    let shown = |input: usize| match &given.input {
        Input::Messages(messages) => {
            let text = messages.iter().nth(input).map(String::from_utf8_lossy).unwrap_or_default();
            let cut: String = text.trim_end().chars().take(MAX_SHOWN_CHARS).collect();
            if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut }
        }
        Input::Rows(rows) if input < rows.rows.num_rows() => as_lines(&rows.rows.slice(input, 1)).concat(),
        Input::Rows(_) => String::new(),
    };
    let row = |input: usize, element: Option<u32>, reason: &str| {
        let element = element.map_or_else(String::new, |element| element.to_string());
        let before = given.reasons.get(input).cloned().unwrap_or_default();
        [input.to_string(), element, reason.to_owned(), before, shown(input)]
    };
    let failed = |fault: &Fault| match &fault.at {
        FaultAt::Input(input) => row(*input, None, &fault.reason),
        FaultAt::Group(key) => ["group".to_owned(), String::new(), fault.reason.clone(), String::new(), key.clone()],
    };
    let names = ["input", "element", "reason", "reason before", "text"];
    let rejected = outcome.rejected.iter().map(|one| row(one.input, one.element, &one.reason));
    let cells = rejected.chain(outcome.faults.iter().map(failed)).take(args.limit);
    let table = match given.reasons.is_empty() {
        false => columns_as_table(&names, cells)?,
        true => columns_as_table(
            &["input", "element", "reason", "text"],
            cells.map(|[input, element, reason, _, text]| [input, element, reason, text]),
        )?,
    };
    Ok(Some(table))
}
