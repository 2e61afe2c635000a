//! Everything that can be told before a message is read.

use super::build::Policies;
use super::kept;
use super::recovery::refuse_other_state;
use super::run::{ground, wire};
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
    let checkpoint = Checkpoint::find(env.storage(&pipeline.checkpoint)?).await?;
    let kept = kept::peek(pipeline, file, env, checkpoint.as_ref()).await?;
    let (footing, _) = ground(pipeline, file, env, kept.as_ref())?;
    let wiring = wire(pipeline, file, &footing, &Policies::of(pipeline), kept.as_ref()).await?;
    let mut problems = wiring.check_tables(file, env).await?;
    if let Some(checkpoint) = checkpoint {
        if checkpoint.pipeline().name != pipeline.name {
            let message = format!("the checkpoint belongs to the pipeline `{}`", checkpoint.pipeline().name);
            let remedy = "give each pipeline a checkpoint of its own".to_owned();
            problems.push(file.problem_at("pipeline.checkpoint", message, Some(remedy)));
        } else if let Some(record) = checkpoint.newest().await? {
            let plans = wiring.stateful.plans.iter();
            let refused = plans.filter_map(|plan| Some((plan, refuse_other_state(plan, &record.steps).err()?)));
            problems.extend(refused.map(|(plan, error)| file.problem_at(&plan.name, error.to_string(), None)));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::from(file.problems(problems))) }
}
