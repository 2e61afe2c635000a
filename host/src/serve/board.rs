//! What a run tells, remembered for whoever asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::metrics::Metrics;
use crate::pipeline::{Progress, Report, SwapEvent};

/// Progress records that are remembered.
pub(super) const MOST: usize = 100;

/// Remembers the last progress records, and counts.
#[derive(Clone, Default)]
pub struct Board(Arc<Kept>);

#[derive(Default)]
struct Kept {
    last: Mutex<VecDeque<Value>>,
    metrics: Metrics,
}

impl Board {
    /// A report that is remembered here and told to `to` as well.
    pub fn beside<'a>(&self, to: &'a mut dyn Report) -> impl Report + use<'a> {
        Beside { board: self.clone(), to }
    }

    /// The last records, at most so many, the latest last.
    pub(super) fn last(&self, count: usize) -> Vec<Value> {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().skip(last.len().saturating_sub(count)).cloned().collect()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

struct Beside<'a> {
    board: Board,
    to: &'a mut dyn Report,
}

impl Report for Beside<'_> {
    fn planned(&mut self, left_bytes: Option<u64>) {
        self.board.0.metrics.planned(left_bytes);
        self.to.planned(left_bytes);
    }

    fn chunk(&mut self, payload_bytes: u64, rows: u64) {
        self.to.chunk(payload_bytes, rows);
    }

    fn epoch(&mut self, progress: &Progress) {
        self.board.0.metrics.epoch(progress);
        let mut last = self.board.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == MOST {
            last.pop_front();
        }
        last.push_back(json!(progress));
        drop(last);
        self.to.epoch(progress);
    }

    fn swap(&mut self, event: &SwapEvent) {
        self.board.0.metrics.swap(event);
        self.to.swap(event);
    }
}
