//! What is wrong with a pipeline file, and where.

use std::fmt;

use crate::Error;

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted path of the key, for example `pipeline.trigger`; empty if
    /// there is none, as in a syntax error.
    pub path: String,
    /// The line in the file; starts at 1.
    pub line: usize,
    /// The column in the line, in characters; starts at 1.
    pub column: usize,
    /// What is wrong, without the path.
    pub message: String,
    /// What is allowed, the nearest spelling, or what to do.
    pub remedy: Option<String>,
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, as it was named by the caller.
    pub file: String,
    /// The problems; at least one.
    pub list: Vec<Problem>,
}

impl Problems {
    /// These problems of a file, in the order of its lines, each once.
    pub(super) fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        list.dedup();
        Self { file: file.to_owned(), list }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the pipeline file is wrong")?;
        for problem in &self.list {
            let Problem { path, line, column, message, remedy } = problem;
            write!(f, "{}:{line}:{column}: ", self.file)?;
            if !path.is_empty() {
                write!(f, "{path}: ")?;
            }
            writeln!(f, "{message}")?;
            if let Some(remedy) = remedy {
                writeln!(f, "  = {remedy}")?;
            }
        }
        let count = self.list.len();
        write!(f, "{count} problem{} in {}", if count == 1 { "" } else { "s" }, self.file)
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::config(problems.to_string())
    }
}
