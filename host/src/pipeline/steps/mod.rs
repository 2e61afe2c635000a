//! The steps behind the rows: windows and rules.
//!
//! ```text
//! workers ─► fed chunk ─► shard 0 ─► late rows, alerts, failed rows ─► tables
//!                    └──► shard 1 ─►      (each has its own keys)
//! end of the epoch: watermark ─► close windows, each behind its input ─► states
//! ```
//!
//! A rule that remembers nothing and judges rows runs in the workers; all other
//! steps run in shards. A shard is a thread with the groups of its keys. A chunk
//! goes to all shards, and each takes the rows of its keys, in order.
//!
//! | file | job |
//! |---|---|
//! | `feed` | rows → what one step sees of them |
//! | `shard` | the threads, and the steps in them |
//! | `window`, `rule` | one step in one shard |
//! | `raised` | how alerts are called, and whom they are kept for |
//! | `duties` | what the steps of an epoch have to do, and when |

mod duties;
mod feed;
mod raised;
mod rule;
mod shard;
mod window;

pub(super) use duties::{Delta, Duties, FedChunk, Outcome, StepCounts};
pub(super) use feed::{Fed, Feeder, Input, Times, time_of};
pub(super) use raised::RaisedAlerts;
pub(super) use rule::RuleShard;
pub(super) use shard::{ShardStep, Shards};
pub(super) use window::{WindowOutput, WindowShard, output_schema};

#[cfg(test)]
mod tests;
