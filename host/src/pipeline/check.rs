//! Everything that can be told before a message is read.

use super::run::wire;
use crate::checkpoint::Checkpoint;
use crate::config::{Pipeline, PipelineFile};
use crate::env::Env;
use crate::{Error, Result};

/// Check a pipeline as a whole without touching data: its plugins, their roles
/// and configurations, the columns of its tables, the tables and the checkpoint
/// that exist.
///
/// # Errors
/// Config with all problems; what a plugin, table or checkpoint fails with
/// otherwise.
pub async fn check(pipeline: &Pipeline, file: &PipelineFile, env: &Env) -> Result<()> {
    let wiring = wire(pipeline, file, env).await?;
    let mut problems = wiring.check_tables(file, env).await?;
    let found = Checkpoint::peek(&env.storage(&pipeline.checkpoint)?).await?;
    if let Some(found) = found.filter(|found| found.name != pipeline.name) {
        let message = format!("the checkpoint belongs to the pipeline `{}`", found.name);
        let remedy = "give each pipeline a checkpoint of its own".to_owned();
        problems.push(file.problem_at("pipeline.checkpoint", message, Some(remedy)));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::from(file.problems(problems))) }
}
