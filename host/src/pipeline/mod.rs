//! The stream, wired and run: the only room that knows all others.
//!
//! ```text
//! source ─►(1 chunk)─► dispatch ─►(1 a worker)─► parse, transform ─►(1 a worker)─► collect ─► stage ─► prepare ─► commit
//!  async                async      worker threads, round robin           in order     encoders   one at a time
//! ```
//!
//! The numbers are the lengths of the queues: memory is bounded by them and the
//! size of a chunk, whatever the backlog. While epoch e commits, epoch e + 1 is
//! read, parsed and staged; it is prepared when e is committed.
//!
//! | file | job |
//! |---|---|
//! | `build` | validated configuration → wired parts |
//! | `workers` | the threads that run plugins, in and out in the same order |
//! | `rows` | rows → the columns of each table; rejections → dead letters |
//! | `wire` | windows and rules, wired to what they see |
//! | `kept` | the schema that weir keeps for a source: inferred, stored, evolved |
//! | `maker` | what makes rows of a chunk: a parser, or the columns of its files |
//! | `watch` | rows of such a schema: what is new in them, their final shape |
//! | `extended` | rows with what a step knows of them: alerts, late rows |
//! | `steps/` | windows and rules: fed, closed, their state kept |
//! | `times` | what the event times of a chunk say |
//! | `epoch` | reads, runs and stages one epoch |
//! | `flow` | what comes out of workers and steps, on its way |
//! | `check` | everything that can be told before a message is read |
//! | `commit` | a prepared epoch → its tables |
//! | `recovery` | finishes what an earlier run prepared, and says where to go on |
//! | `notifications` | who is notified of alerts, and how the outbox goes |
//! | `files` | what the ledger says of files, for whoever asks |
//! | `run/` | the loop: trigger, stage, prepare, commit; other versions between two epochs |
//! | `swap/` | other versions of plugins: asked for, made ready, tried, trusted |
//! | `progress` | what is told after every epoch |

mod build;
mod check;
mod commit;
mod epoch;
mod extended;
mod files;
mod flow;
mod kept;
mod maker;
mod notifications;
mod progress;
mod recovery;
mod rows;
mod run;
mod steps;
mod swap;
mod times;
mod watch;
mod wire;
mod workers;

pub use check::check;
pub use files::{AskedFile, FilePlace, FilesSummary, files_summary, find_files};
pub use kept::kept_schema;
pub use notifications::{NotificationProgress, Notified};
pub use progress::{
    Counts, EventTimeProgress, PluginProgress, Progress, Report, Silent, SinkProgress, SourceProgress, StateProgress,
};
pub use run::{Shutdown, Summary, run, run_with_swaps};
pub use swap::{
    Ask, Difference, Differences, PluginStanding, Request, Standing, Swap, SwapEvent, SwapOutcome, SwapSender, Swaps,
    TrialStanding, swaps,
};
