//! Other versions of plugins take over while the stream runs.
//!
//! ```text
//! asked ─► load, compile, wire (beside the stream) ─► trial ─► between two epochs: states move, workers change ─► probation
//!            │ refused                                  │ refused        │ refused                               │ rolled back
//! ```
//!
//! Invariants:
//! - a version takes over between two epochs, so that an epoch has one version of
//!   each step, which its record names;
//! - a refusal leaves everything as it was;
//! - the components that a record names are kept before it is prepared.
//!
//! | file | job |
//! |---|---|
//! | `request` | what can be asked, and what is answered |
//! | `control` | the state of it in a run: asked, under way, on probation |
//! | `candidate` | makes a version ready beside the stream |
//! | `versions` | since when which version, what it replaced, what is kept |
//! | `watcher` | looks whether the files of components change |
//! | `trial` | runs a version beside the one that it is to replace |
//! | `comparison` | what they make of the same messages |

mod candidate;
mod comparison;
mod control;
mod request;
mod trial;
mod versions;
mod watcher;

pub(super) use candidate::{Candidate, Ground};
pub(super) use comparison::Comparison;
pub use comparison::{Difference, Differences};
pub(super) use control::{Answer, Control, Next, OnProbation, Verdict, event};
pub use request::{
    Ask, PluginStanding, Request, Standing, Swap, SwapEvent, SwapOutcome, SwapSender, Swaps, TrialStanding, swaps,
};
pub(super) use trial::{Shadow, Tried};
pub(super) use versions::{Versions, in_force};
