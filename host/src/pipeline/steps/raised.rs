//! What the rules of an epoch raised: how alerts are called, and those of them
//! that somebody is notified of.

use arrow::array::{RecordBatch, StringArray};

use super::super::rows::json_of;
use super::feed::Times;
use crate::model::{Epoch, Lane};
use crate::plugin::Alerts;
use crate::sink::notify::{Alert, AlertId, Batch, Bounds};
use crate::{Error, Result};

/// Alerts with what is needed to show them.
#[derive(Debug)]
pub(in super::super) struct RaisedAlerts {
    /// The rule, by the index of its step.
    pub(in super::super) step: usize,
    /// What the rule's table shows of all rows.
    pub(in super::super) shown: RecordBatch,
    /// The event times of all rows.
    pub(in super::super) times: Times,
    pub(in super::super) alerts: Alerts,
}

/// The alerts of one epoch.
pub(super) struct Raised {
    pipeline: String,
    lane: Lane,
    epoch: Epoch,
    batch: Batch,
}

impl Raised {
    /// Nothing is raised yet in this epoch of the pipeline with this identifier.
    pub(super) fn new(pipeline: &str, lane: &Lane, epoch: Epoch) -> Self {
        Self { pipeline: pipeline.to_owned(), lane: lane.clone(), epoch, batch: Batch::new(Bounds::default()) }
    }

    /// The names of the next alerts of a rule, of which so many were raised before.
    pub(super) fn ids(&self, rule: &str, before: u64, count: usize) -> StringArray {
        let id = |index: u64| AlertId::of(&self.pipeline, &self.lane, rule, self.epoch, index);
        StringArray::from_iter_values((before..).take(count).map(|index| id(index).as_str().to_owned()))
    }

    /// Keep alerts for those who are notified of them; `rows` are those of the
    /// alerts' table, one an alert, and `before` is how many were raised before.
    pub(super) fn keep(
        &mut self,
        rule: &str,
        before: u64,
        alerts: &Alerts,
        times: &Times,
        rows: &RecordBatch,
    ) -> Result<()> {
        let room = usize::try_from(self.batch.room(rule)).unwrap_or(usize::MAX).min(rows.num_rows());
        if room > 0 {
            let json = json_of(&rows.slice(0, room))?;
            let lines = json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            for (index, line) in lines.enumerate() {
                let row = serde_json::from_slice(line)
                    .map_err(|error| Error::bug("a row of alerts is not JSON").because(error))?;
                let text = |column: &StringArray| column.value(index).to_owned();
                self.batch.push(&Alert {
                    id: AlertId::of(&self.pipeline, &self.lane, rule, self.epoch, before + index as u64),
                    rule: rule.to_owned(),
                    kind: text(&alerts.kind),
                    severity: text(&alerts.severity),
                    message: text(&alerts.message),
                    time: rfc3339_of(times, alerts.rows[index] as usize),
                    epoch: self.epoch,
                    row,
                });
            }
        }
        self.batch.leave_out(rule, (rows.num_rows() - room) as u64);
        Ok(())
    }

    /// What somebody is to be notified of.
    pub(super) fn take(&mut self) -> Batch {
        std::mem::replace(&mut self.batch, Batch::new(Bounds::default()))
    }
}

/// The event time of a row (RFC 3339), if it has one.
fn rfc3339_of(times: &Times, row: usize) -> Option<String> {
    let is_valid = times.valid().is_none_or(|valid| valid.is_valid(row));
    let time = is_valid.then(|| times.values().get(row).copied()).flatten()?;
    let time = chrono::DateTime::from_timestamp_micros(time)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}
