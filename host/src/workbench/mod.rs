//! The workbench: projects, cases and figures, for making plugins without a stream.
//!
//! ```text
//! templates ─► project ─► build ─► component ─► trial ─► verdict (a case)
//!                                                └─────► figures (a measurement)
//! ```
//!
//! A trial runs a plugin in the sandbox of the pipelines, with the same limits,
//! checks and isolation, over an input that is in memory.
//!
//! Invariants:
//! - no table and no checkpoint is touched, and nothing outside of the project's
//!   folder is written;
//! - the plugin sees nothing here that it would not see in a pipeline;
//! - a failure (a trap, a missed deadline, an invalid result) is never accepted as
//!   what a case expects.
//!
//! | file | job |
//! |---|---|
//! | `templates` | the embedded templates, and a new folder of them |
//! | `project` | `weir-plugin.toml` |
//! | `build` | from a project to its component |
//! | `json_rows` | rows as lines of JSON, both ways |
//! | `input` | what a trial runs over: messages, or rows |
//! | `trial` | one run of a plugin over an input |
//! | `state` | the same run with a restored state in the middle, or with merged ones |
//! | `case` | the folder of a case |
//! | `verdict` | what a case expected beside what it got |
//! | `figures`, `contenders` | how fast plugins are, beside each other |

mod build;
mod case;
mod contenders;
mod figures;
mod input;
mod json_rows;
mod project;
mod state;
mod templates;
mod trial;
mod verdict;

pub use build::{Built, build};
pub use case::{Case, case_name, cases_of, first_case};
pub use contenders::{Contender, Contest, Opponent};
pub use figures::{Calls, Figures, measure};
pub use input::{FieldsFrom, Input, Messages, Rows, messages_of_bytes, messages_of_lines};
pub use json_rows::{as_columns, as_lines, from_lines};
pub use project::{Language, PROJECT_FILE, Project, RoleName};
pub use templates::{NewProject, create};
pub use trial::{Fault, FaultAt, Outcome, Trial};
pub use verdict::{Update, Verdict, judge};
