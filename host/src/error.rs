//! The one public error of weir.
//!
//! A kind says what the caller can do about it; the context names the object and
//! the remedy. Rooms build their errors here, so that a message reads the same
//! wherever it surfaces.

use std::error::Error as StdError;
use std::fmt;

/// What kind of failure it is, which is to say what remedy it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The pipeline file, the command line or a plugin's configuration is wrong: edit it.
    Config,
    /// A store or service did not answer: try again later.
    Unavailable,
    /// The input or a table does not fit: look at the data that the message names.
    Data,
    /// A plugin failed beyond what the pipeline tolerates: mend or replace the plugin.
    Plugin,
    /// Another host took this pipeline over: leave it to that host.
    Fenced,
    /// A durable record is damaged or does not belong here: restore it.
    Corrupt,
    /// weir broke one of its own rules: report it.
    Bug,
}

impl ErrorKind {
    /// The exit code of the process for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Bug => 1,
            Self::Config => 2,
            Self::Unavailable => 3,
            Self::Data => 4,
            Self::Plugin => 5,
            Self::Fenced => 6,
            Self::Corrupt => 7,
        }
    }
}

/// A failure, with its kind, what it was about, and what caused it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with the error of weir.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a cause.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// The pipeline file, the command line or a plugin's configuration is wrong.
    pub fn config(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, context)
    }

    /// A store or service did not answer.
    pub fn unavailable(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, context)
    }

    /// The input or a table does not fit.
    pub fn data(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, context)
    }

    /// A plugin failed beyond what the pipeline tolerates.
    pub fn plugin(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Plugin, context)
    }

    /// Another host took this pipeline over.
    pub fn fenced(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, context)
    }

    /// A durable record is damaged or does not belong here.
    pub fn corrupt(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, context)
    }

    /// weir broke one of its own rules.
    pub fn bug(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, context)
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, with what was being done put before it.
    #[must_use]
    pub fn during(mut self, doing: impl fmt::Display) -> Self {
        self.context = format!("{doing}: {}", self.context);
        self
    }

    /// What remedy there is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        let mut said = self.context.clone();
        while let Some(error) = cause {
            let text = error.to_string();
            // Libraries often repeat their cause in their own message.
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
