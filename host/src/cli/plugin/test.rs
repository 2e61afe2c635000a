//! `weir plugin test`: run the cases of a project.

use std::path::PathBuf;

use super::{library, tell};
use crate::cli::print;
use crate::plugin::{ComponentSource, Plugin};
use crate::workbench::{Case, Project, Update, Verdict, case_name, cases_of, judge};
use crate::{Error, Result};

/// Run the cases of a project, in the sandbox and under the checks of a pipeline.
///
/// A case is a folder `tests/NAME` with `input.jsonl` (one message or row a line),
/// `expected.jsonl` (one row or alert a line), and where they are needed
/// `case.toml` (config, schema, key, limits), `rejected.jsonl` and `schema.txt`.
/// Aggregators and keyed rules also run with a fresh instance that takes the state
/// over in the middle, and aggregators in two parts that are merged. Fails with exit
/// code 5 if a case does not hold. Folders whose names begin with `.` or `_` are no
/// cases.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin test
  weir plugin test geofence --case inside-and-outside
  weir plugin test geofence --update")]
pub(super) struct Args {
    /// The folder of the project.
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Only these cases.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Test another component than the project's.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Write what the plugin does now as what is expected from now on. Traps,
    /// missed deadlines and invalid results are never accepted.
    #[arg(long)]
    update: bool,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let project = Project::open(&args.folder)?;
    let component = match &args.component {
        Some(file) => ComponentSource::File(file.clone()),
        None => {
            let built = project.built()?;
            if let Some(source) = project.changed_source() {
                let (source, folder) = (source.display(), args.folder.display());
                tell(&format!("{source} has changed since the component was built: `weir plugin build {folder}`"));
            }
            built
        }
    };
    let cases = chosen(cases_of(&project.folder)?, &args.cases)?;
    let role = project.role.role();
    let library = library()?;
    let update = if args.update { Update::Yes } else { Update::No };
    let (mut loaded, mut failed): (Option<(crate::plugin::Limits, Plugin)>, usize) = (None, 0);
    for folder in &cases {
        let case = match Case::read(folder, role) {
            Ok(case) => case,
            // A case that is wrong does not keep the others from being run.
            Err(error) => {
                failed += 1;
                print(&told(&case_name(folder), &broken(&format!("the case cannot be read: {error}"))))?;
                continue;
            }
        };
        // The limits of a case count from the first call on.
        let plugin = match &loaded {
            Some((limits, plugin)) if *limits == case.limits => plugin,
            _ => {
                let plugin = library.load(&component, None, &case.limits)?;
                plugin.require(role)?;
                &loaded.insert((case.limits, plugin)).1
            }
        };
        // A plugin that cannot go on at all fails its case, not the others.
        let verdict = judge(plugin, role, &case, update)
            .unwrap_or_else(|error| broken(&format!("the case cannot be run: {error}")));
        failed += usize::from(!verdict.holds());
        print(&told(&case_name(folder), &verdict))?;
    }
    let count = |count: usize| format!("{count} case{}", if count == 1 { "" } else { "s" });
    match failed {
        0 => print(&format!("{} passed", count(cases.len()))),
        failed => Err(Error::plugin(format!("{failed} of {} failed", count(cases.len())))),
    }
}

fn chosen(cases: Vec<PathBuf>, names: &[String]) -> Result<Vec<PathBuf>> {
    if names.is_empty() {
        return Ok(cases);
    }
    if let Some(unknown) = names.iter().find(|name| !cases.iter().any(|case| case_name(case) == **name)) {
        let known: Vec<String> = cases.iter().map(|case| case_name(case)).collect();
        return Err(Error::config(format!("there is no case `{unknown}`: there are {}", known.join(", "))));
    }
    Ok(cases.into_iter().filter(|case| names.contains(&case_name(case))).collect())
}

/// The verdict on a case that could not be judged.
fn broken(problem: &str) -> Verdict {
    Verdict { problems: vec![problem.to_owned()], ..Verdict::default() }
}

fn told(name: &str, verdict: &Verdict) -> String {
    let mut lines = vec![match (verdict.holds(), verdict.written.as_slice()) {
        (true, []) => format!("ok    {name}"),
        (true, written) => format!("ok    {name}: wrote {}", written.join(", ")),
        (false, _) => format!("FAIL  {name}"),
    }];
    let indented = |text: &String| format!("      {}", text.replace('\n', "\n      "));
    lines.extend(verdict.problems.iter().chain(&verdict.notes).map(indented));
    lines.join("\n")
}
