//! What can be asked of a running pipeline, and what it answers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::comparison::Differences;
use crate::config::{Pipeline, PipelineFile};
use crate::model::{Digest, Epoch, PluginIdentity, ReplacedVersion};
use crate::plugin::ComponentSource;
use crate::{Error, Result};

/// Requests that wait while one is being worked on.
const WAITING: usize = 16;

/// What is asked of a running pipeline.
#[derive(Debug)]
pub enum Ask {
    /// Let another component have a step.
    Swap(Swap),
    /// Let the version have a step that was replaced last, or the one with this
    /// digest.
    RollBack {
        /// The step.
        step: String,
        /// Which version.
        to: Option<Digest>,
    },
    /// Let the steps have the plugins that this reading of the pipeline file names.
    Reload(Box<(Pipeline, PipelineFile)>),
}

/// Another component for a step.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The step: `parser`, `transform.NAME`, `window.NAME` or `rule.NAME`.
    pub step: String,
    /// The component.
    pub component: ComponentSource,
    /// The digest that it must have.
    pub sha256: Option<Digest>,
    /// For how many epochs it runs beside the old one first; none: as the file says.
    pub shadow: Option<u32>,
    /// For how many epochs it goes back if it fails; none: as the file says.
    pub probation: Option<u32>,
    /// Whether it is what the pipeline file names.
    pub is_named: bool,
}

/// A request with the way to its answer: what became of each step, or why all of it
/// was refused.
#[derive(Debug)]
pub struct Request {
    pub(in crate::pipeline) ask: Ask,
    pub(in crate::pipeline) answer: oneshot::Sender<Result<Vec<SwapEvent>>>,
}

/// What a run takes requests from.
#[derive(Debug)]
pub struct Swaps {
    requests: mpsc::Receiver<Request>,
    /// Who came while only a rollback was asked for.
    waiting: VecDeque<Request>,
    pub(super) standing: watch::Sender<Standing>,
    /// For who watches components on behalf of the run.
    pub(super) sender: SwapSender,
}

/// The way to a run.
#[derive(Debug, Clone)]
pub struct SwapSender {
    requests: mpsc::Sender<Request>,
    standing: watch::Receiver<Standing>,
}

/// A run's end of the way to it, and everybody else's.
pub fn swaps() -> (SwapSender, Swaps) {
    let (requests, received) = mpsc::channel(WAITING);
    let (told, standing) = watch::channel(Standing::default());
    let sender = SwapSender { requests, standing };
    (sender.clone(), Swaps { requests: received, waiting: VecDeque::new(), standing: told, sender })
}

impl Request {
    /// Whether nobody waits for the answer any more.
    pub(in crate::pipeline) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

impl Swaps {
    /// Nobody asks anything.
    pub fn none() -> Self {
        swaps().1
    }

    /// Who came first; waits for it. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Request {
        if let Some(request) = self.waiting.pop_front() {
            return request;
        }
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// The next who asks for a rollback; the others wait. May be dropped and called
    /// again.
    pub(super) async fn next_rollback(&mut self) -> Request {
        let is_rollback = |request: &Request| matches!(request.ask, Ask::RollBack { .. });
        loop {
            if let Some(rollback) = self.waiting.iter().position(is_rollback).and_then(|at| self.waiting.remove(at)) {
                return rollback;
            }
            match self.requests.recv().await {
                Some(request) if self.waiting.len() >= WAITING && !is_rollback(&request) => {
                    drop(request.answer.send(Err(too_many())));
                }
                Some(request) => self.waiting.push_back(request),
                None => std::future::pending().await,
            }
        }
    }
}

impl SwapSender {
    /// Ask, and wait until it is done: a trial takes as many epochs as it was told.
    ///
    /// # Errors
    /// Why it was refused; Unavailable if the run ends before, or too many wait.
    pub async fn ask(&self, ask: Ask) -> Result<Vec<SwapEvent>> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { ask, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => too_many(),
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answered.await.map_err(|_| ended())?
    }

    /// Where the run stands now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Wait until the run stands elsewhere.
    ///
    /// # Errors
    /// Unavailable if the run has ended.
    pub async fn moved(&mut self) -> Result<()> {
        self.standing.changed().await.map_err(|_| ended())
    }
}

fn too_many() -> Error {
    Error::unavailable("too many swaps wait already: try again later")
}

fn ended() -> Error {
    Error::unavailable("the pipeline has stopped running, and nothing was changed")
}

/// Where a run stands.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Whether it has recovered and reads.
    pub is_ready: bool,
    /// The next epoch.
    pub next_epoch: u64,
    /// Its plugins, in the order of the stream.
    pub plugins: Vec<PluginStanding>,
}

/// A plugin in its step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStanding {
    /// What it does: `parser`, `transform`, `aggregator` or `rule`.
    pub role: &'static str,
    /// Its step, name, version and digest.
    #[serde(flatten)]
    pub identity: PluginIdentity,
    /// The first epoch that it had part in.
    pub since_epoch: u64,
    /// The component that the pipeline file names, if this one stands in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<Digest>,
    /// Epochs until it is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probation_left: Option<u32>,
    /// The version that runs beside it, if one is on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStanding>,
    /// What it can be rolled back to, the latest first.
    pub replaced: Vec<ReplacedVersion>,
}

/// A version on trial.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialStanding {
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The digest of the component.
    pub sha256: Digest,
    /// Epochs until it takes over.
    pub left: u32,
}

/// What became of another version of a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwapEvent {
    /// The step.
    pub step: String,
    /// What became of it.
    pub outcome: SwapOutcome,
    /// The version that had the step.
    pub from: PluginIdentity,
    /// The other version; none if it could not even say who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<PluginIdentity>,
    /// The digest of the other version; none if it could not even be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The first epoch that it is true for.
    pub epoch: Epoch,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long the stream stood still, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_us: Option<u64>,
    /// How long it took to make it ready beside the stream, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// What a trial showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Differences>,
}

/// What became of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwapOutcome {
    /// It has the step.
    TookOver,
    /// It never had the step.
    Refused,
    /// It had the step, and has it no more.
    RolledBack,
    /// It has the step and is trusted now.
    Trusted,
}

impl SwapEvent {
    /// The event in a line for people.
    pub fn line(&self) -> String {
        let version =
            |identity: &PluginIdentity| format!("{} {} ({})", identity.name, identity.version, identity.sha256.short());
        let to = match (&self.to, self.sha256) {
            (Some(to), _) => version(to),
            (None, Some(sha256)) => format!("the component {}", sha256.short()),
            (None, None) => "another component".to_owned(),
        };
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let (step, epoch, from) = (&self.step, self.epoch, version(&self.from));
        match self.outcome {
            SwapOutcome::TookOver => format!("{step}: {to} took over from {from} with epoch {epoch}{reason}"),
            SwapOutcome::Refused => format!("{step}: {to} was refused, {from} goes on{reason}"),
            SwapOutcome::RolledBack => {
                format!("{step}: {to} was rolled back, {from} goes on with epoch {epoch}{reason}")
            }
            SwapOutcome::Trusted => format!("{step}: {to} is no longer on probation{reason}"),
        }
    }
}
