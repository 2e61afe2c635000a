//! `weir plugin inspect`: what a component is, and whether weir accepts it.

use serde_json::{Value, json};

use super::{GENEROUS, component, library};
use crate::cli::print;
use crate::plugin::{Form, Inspection};
use crate::{Error, Result};

/// Say what a component is: what it can do, imports, and takes as configuration,
/// and whether weir accepts it.
///
/// Fails with exit code 2 if weir does not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin inspect geofence.wasm
  weir plugin inspect builtin:json --json | jq .config_schema")]
pub(super) struct Args {
    /// A component, a core module that describes one, a project's folder, or
    /// `builtin:NAME`.
    #[arg(value_name = "FILE")]
    file: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let inspection = library()?.inspect(&component(&args.file)?, &GENEROUS)?;
    let told = Told::new(&args.file, &inspection);
    print(&if args.json { told.as_json().to_string() } else { told.as_text() })?;
    match inspection.accepted {
        Ok(_) => Ok(()),
        Err(error) if args.json => Err(Error::new(error.kind(), "weir does not accept the component").because(error)),
        Err(_) => Err(Error::config("weir does not accept the component")),
    }
}

/// What is told of a component.
struct Told<'a> {
    file: &'a str,
    inspection: &'a Inspection,
    roles: Vec<&'static str>,
    reason: Option<String>,
}

impl<'a> Told<'a> {
    fn new(file: &'a str, inspection: &'a Inspection) -> Self {
        let roles = inspection.roles.iter().map(|role| role.name()).collect();
        Self { file, inspection, roles, reason: inspection.accepted.as_ref().err().map(ToString::to_string) }
    }

    fn form(&self) -> &'static str {
        match self.inspection.form {
            Form::Component => "component",
            Form::CoreModule => "core module",
        }
    }

    /// What it must be granted, by name.
    fn grants(&self) -> Vec<&'static str> {
        if self.inspection.needs.wasi { vec!["wasi"] } else { Vec::new() }
    }

    /// The schema of the configuration; the text itself where it is no JSON.
    fn config_schema(&self) -> Option<Value> {
        let schema = self.inspection.accepted.as_ref().ok()?.config_schema();
        Some(serde_json::from_str(schema).unwrap_or_else(|_| Value::from(schema)))
    }

    fn as_json(&self) -> Value {
        let plugin = self.inspection.accepted.as_ref().ok();
        json!({
            "file": self.file,
            "accepted": plugin.is_some(),
            "reason": self.reason,
            "name": plugin.map(crate::plugin::Plugin::name),
            "version": plugin.map(crate::plugin::Plugin::version),
            "description": plugin.map(crate::plugin::Plugin::description),
            "roles": self.roles,
            "imports": self.inspection.imports,
            "grants": self.grants(),
            "form": self.form(),
            "sha256": self.inspection.digest.to_string(),
            "size_bytes": self.inspection.size_bytes,
            "config_schema": self.config_schema(),
        })
    }

    fn as_text(&self) -> String {
        let mut lines = vec![self.file.to_owned()];
        let mut line = |name: &str, text: &str| lines.push(format!("  {name:<13}{text}"));
        if let Ok(plugin) = &self.inspection.accepted {
            line("name", &format!("{} {}", plugin.name(), plugin.version()));
            line("what it does", plugin.description());
        }
        let list = |items: &[&str]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        line("roles", &list(&self.roles));
        line("imports", &list(&self.inspection.imports.iter().map(String::as_str).collect::<Vec<_>>()));
        line("sha256", &self.inspection.digest.to_string());
        let encoded = if self.inspection.form == Form::CoreModule { ", which weir encodes" } else { "" };
        line("size", &format!("{} bytes, a {}{encoded}", self.inspection.size_bytes, self.form()));
        line("accepted", &self.reason.as_ref().map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}")));
        line(
            "grants",
            &match self.grants().as_slice() {
                [] => "none needed".to_owned(),
                grants => format!(
                    "needs {}: write `grants = [\"{}\"]` beside `plugin` in the pipeline file, and in case.toml",
                    grants.join(", "),
                    grants.join("\", \"")
                ),
            },
        );
        if let Some(schema) = self.config_schema() {
            let text = serde_json::to_string_pretty(&schema).unwrap_or_else(|_| schema.to_string());
            line("config", &text.replace('\n', "\n  "));
        }
        lines.join("\n")
    }
}
