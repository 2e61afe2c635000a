//! What a case expected beside what it got.

use arrow::array::RecordBatch;
use serde_json::{Map, Value};
use similar::TextDiff;

use super::case::{Case, EXPECTED, REJECTED, SCHEMA, SETTINGS, read_if_there};
use super::json_rows::{as_lines, canonical, column_texts, is_alike};
use super::trial::{Outcome, Trial};
use crate::plugin::{Plugin, Rejection, Role};
use crate::{Error, Result};

/// Lines around a difference that are shown.
const CONTEXT_LINES: usize = 2;
/// Faults of one case that are shown; nobody reads more.
const MAX_SHOWN_FAULTS: usize = 10;

const ACCEPT: &str = "if the plugin is right, accept it with `weir plugin test --update`";

/// Whether a case that differs is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It is reported.
    No,
    /// What the plugin does now is what is expected from now on.
    Yes,
}

/// What became of a case.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong, each with what to do about it; none if the case holds.
    pub problems: Vec<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// The files that were written.
    pub written: Vec<&'static str>,
}

/// Run a case and compare.
///
/// # Errors
/// Config if the plugin does not take the case's configuration; Unavailable if a
/// file cannot be written; Plugin if it cannot go on at all.
pub fn judge(plugin: &Plugin, role: Role, case: &Case, update: Update) -> Result<Verdict> {
    let trial = Trial { plugin, role, config: case.config.clone(), limits: case.limits, now_us: case.now_us };
    let outcome = trial.run(&case.input)?;
    let mut verdict = Verdict::default();
    verdict.faults(&outcome);
    // What a faulty run gives is not worth a comparison, and must not be accepted.
    if verdict.problems.is_empty() {
        let whole = as_lines(&outcome.rows);
        verdict.state(&trial, case, &whole);
        verdict.merged(trial.run_merged(&case.input), &whole);
    }
    let update = if verdict.problems.is_empty() { update } else { Update::No };
    verdict.schema(case, role, &outcome, update)?;
    verdict.rows(case, &outcome.rows, update)?;
    verdict.rejected(case, &outcome.rejected, update)?;
    Ok(verdict)
}

impl Verdict {
    /// Whether the case holds.
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    fn faults(&mut self, outcome: &Outcome) {
        for fault in outcome.faults.iter().take(MAX_SHOWN_FAULTS) {
            self.problems.push(format!("{}: {}\n  = {}", fault.at, fault.reason, fault.remedy));
        }
        if let Some(more) = outcome.faults.len().checked_sub(MAX_SHOWN_FAULTS).filter(|more| *more > 0) {
            self.problems.push(format!("and {more} more for which the plugin fails"));
        }
    }

    fn state(&mut self, trial: &Trial<'_>, case: &Case, whole: &[String]) {
        let moved = match trial.run_restored(&case.input) {
            Ok(None) => return,
            Ok(Some(moved)) => moved,
            Err(error) => {
                let remedy = "`snapshot` must give each group's state, and `restore` must take it in a fresh instance";
                self.problems.push(format!("the state cannot be moved to a fresh instance: {error}\n  = {remedy}"));
                return;
            }
        };
        if let Some(diff) = diff(whole, &moved.in_two, "in one chunk", "in two chunks") {
            let remedy = "carry everything that one chunk leaves over to the next in the group's state";
            self.problems
                .push(format!("the result depends on how the rows are cut into chunks:\n{diff}\n  = {remedy}"));
        } else if let Some(diff) = diff(whole, &moved.restored, "without a restart", "restored in the middle") {
            let remedy = "`snapshot` must write, and `restore` read, everything that a later row depends on";
            self.problems.push(format!(
                "the result changes when a fresh instance takes the state over in the middle:\n{diff}\n  = {remedy}"
            ));
        }
    }

    /// What a run gave in two parts that were merged, beside the whole.
    fn merged(&mut self, merged: Result<Option<Vec<String>>>, whole: &[String]) {
        let merged = match merged {
            Ok(None) => return,
            Ok(Some(merged)) => merged,
            Err(error) => {
                let remedy = "sessions that meet become one: `merge` must fold the state of each source into the group \
                              beside it, which may be empty";
                self.problems.push(format!("the states of two parts cannot be merged: {error}\n  = {remedy}"));
                return;
            }
        };
        // Sums in another order differ in their last digits, which is no fault.
        let settled = |(index, line): (usize, String)| match whole.get(index) {
            Some(whole) if is_alike(whole, &line) => whole.clone(),
            _ => line,
        };
        let merged: Vec<String> = merged.into_iter().enumerate().map(settled).collect();
        if let Some(diff) = diff(whole, &merged, "as a whole", "merged from two parts") {
            let remedy = "`merge` must leave the state that the rows of the group and behind them those of the source \
                          would have left";
            self.problems
                .push(format!("the result changes when the states of two parts are merged:\n{diff}\n  = {remedy}"));
        }
    }

    fn schema(&mut self, case: &Case, role: Role, outcome: &Outcome, update: Update) -> Result<()> {
        if role == Role::Rule {
            // Alerts have the same columns everywhere.
            return Ok(());
        }
        let found = column_texts(&outcome.rows.schema());
        let (place, expected) = match (&case.output, read_if_there(&case.folder.join(SCHEMA))?) {
            (Some(output), _) => (SETTINGS, Some(output.clone())),
            (None, text) => (SCHEMA, text.map(|text| text.lines().map(str::to_owned).collect())),
        };
        let Some(expected) = expected else {
            return match update {
                Update::Yes => self.write(case, SCHEMA, &found),
                Update::No => {
                    self.notes.push(format!(
                        "there is no {SCHEMA}, so a change of the output schema goes unseen: \
                                             `weir plugin test --update` writes it"
                    ));
                    Ok(())
                }
            };
        };
        let Some(diff) = diff(&expected, &found, place, "the plugin") else { return Ok(()) };
        if update == Update::Yes && place == SCHEMA {
            return self.write(case, SCHEMA, &found);
        }
        let remedy = if place == SCHEMA { ACCEPT } else { "if the plugin is right, change `output` in case.toml" };
        self.problems.push(format!(
            "the output schema has changed, and with it the tables that it goes to:\n{diff}\n  = {remedy}"
        ));
        Ok(())
    }

    fn rows(&mut self, case: &Case, rows: &RecordBatch, update: Update) -> Result<()> {
        let found = as_lines(rows);
        let Some(text) = read_if_there(&case.folder.join(EXPECTED))? else {
            return match update {
                Update::Yes => self.write(case, EXPECTED, &found),
                Update::No => {
                    let remedy = "write it, or have it written by `weir plugin test --update` and read what it says";
                    self.problems.push(format!("there is no {EXPECTED}\n  = {remedy}"));
                    Ok(())
                }
            };
        };
        let schema = rows.schema();
        let (mut expected, mut what) = (Vec::new(), "the rows are not the expected ones".to_owned());
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            expected.push(canonical(line, &schema).unwrap_or_else(|why| {
                // It stays as it is, and so it differs.
                what = format!("{EXPECTED}:{} is no row of the output: {why}", index + 1);
                line.trim().to_owned()
            }));
        }
        self.compare(case, EXPECTED, &what, &expected, &found, update)
    }

    fn rejected(&mut self, case: &Case, rejected: &[Rejection], update: Update) -> Result<()> {
        let place = case.folder.join(REJECTED);
        let text = read_if_there(&place)?.unwrap_or_default();
        let mut expected: Vec<Value> = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |error: serde_json::Error| {
                let form = "write one object a line, such as {\"input\":3,\"reason\":\"…\"}";
                Error::config(format!("{}:{}: {form}", place.display(), index + 1)).because(error)
            };
            expected.push(serde_json::from_str(line).map_err(wrong)?);
        }
        let found: Vec<Value> = rejected
            .iter()
            .enumerate()
            .map(|(index, rejection)| rejection_as_json(rejection, expected.get(index)))
            .collect();
        // Keys may come in any order.
        if expected == found {
            return Ok(());
        }
        let lines = |values: Vec<Value>| values.iter().map(Value::to_string).collect::<Vec<_>>();
        if update == Update::Yes {
            let full = rejected.iter().map(|rejection| rejection_as_json(rejection, None)).collect();
            return self.write(case, REJECTED, &lines(full));
        }
        self.compare(
            case,
            REJECTED,
            "the rejections are not the expected ones",
            &lines(expected),
            &lines(found),
            update,
        )
    }

    fn compare(
        &mut self,
        case: &Case,
        file: &'static str,
        what: &str,
        expected: &[String],
        found: &[String],
        update: Update,
    ) -> Result<()> {
        let Some(diff) = diff(expected, found, file, "the plugin") else { return Ok(()) };
        if update == Update::Yes {
            return self.write(case, file, found);
        }
        self.problems.push(format!("{what}:\n{diff}\n  = {ACCEPT}"));
        Ok(())
    }

    fn write(&mut self, case: &Case, file: &'static str, lines: &[String]) -> Result<()> {
        let path = case.folder.join(file);
        let written = match lines {
            // No file means that nothing is rejected.
            [] if file == REJECTED => std::fs::remove_file(&path),
            lines => std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()),
        };
        written.map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).because(error))?;
        self.written.push(file);
        Ok(())
    }
}

/// A rejection as a line of JSON, without those details that the expected one
/// leaves out.
fn rejection_as_json(rejection: &Rejection, expected: Option<&Value>) -> Value {
    let is_wanted = |key: &str| expected.is_none_or(|expected| expected.get(key).is_some());
    let mut object = Map::new();
    object.insert("input".to_owned(), Value::from(rejection.input));
    if let Some(element) = rejection.element.filter(|_| is_wanted("element")) {
        object.insert("element".to_owned(), Value::from(element));
    }
    if let Some((start, end)) = rejection.span.filter(|_| is_wanted("span")) {
        object.insert("span".to_owned(), Value::from(vec![start, end]));
    }
    object.insert("reason".to_owned(), Value::from(rejection.reason.as_str()));
    Value::Object(object)
}

/// The difference between lines; none if there is none.
fn diff(expected: &[String], found: &[String], left: &str, right: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (expected, found) = (text(expected), text(found));
    let diff = TextDiff::from_lines(&expected, &found);
    let shown = diff.unified_diff().context_radius(CONTEXT_LINES).header(left, right).to_string();
    Some(shown.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problem with rows that were merged beside those of the whole.
    fn check(merged: Result<Option<Vec<String>>>) -> String {
        let whole = ["{\"key\":\"a\",\"n\":3,\"mean\":0.1}", "{\"key\":\"b\",\"n\":1,\"mean\":2.0}"];
        let mut verdict = Verdict::default();
        verdict.merged(merged, &whole.map(str::to_owned));
        verdict.problems.join("\n")
    }

    #[test]
    fn a_wrong_merge_is_told_with_what_to_do() {
        let lines = |lines: [&str; 2]| Ok(Some(lines.map(str::to_owned).to_vec()));
        assert_eq!(check(Ok(None)), "", "the role does not merge");
        let last_digit =
            lines(["{\"key\":\"a\",\"n\":3,\"mean\":0.10000000000000002}", "{\"key\":\"b\",\"n\":1,\"mean\":2.0}"]);
        assert_eq!(check(last_digit), "");
        let told = check(lines([
            "{\"key\":\"a\",\"n\":1,\"mean\":0.1}",
            "{\"key\":\"b\",\"n\":1,\"mean\":2.0000000000000004}",
        ]));
        for part in [
            "when the states of two parts are merged:",
            "-{\"key\":\"a\",\"n\":3",
            "+{\"key\":\"a\",\"n\":1",
            "`merge`",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("2.0000000000000004"), "what is alike is no difference: {told}");
        let told = check(Err(Error::plugin("it cannot go on")));
        assert!(told.contains("the states of two parts cannot be merged: it cannot go on"), "{told}");
    }
}
