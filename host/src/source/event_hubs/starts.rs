//! Where partitions begin that no checkpoint knows: from what the pipeline says
//! to a sequence number.
//!
//! A position is fixed before anything is received, so that a connection which
//! breaks is opened again where it stands, and not "at the end".

use futures::StreamExt as _;

use super::settings::{EventHubsSettings, StartAt};
use crate::event_hubs::{Connection, PartitionState, Position, ReceiverSettings, Trouble};
use crate::model::PartitionId;
use crate::{Error, Result};

/// The sequence number at which a partition begins.
///
/// The outer error is trouble that may pass, the inner one is final: the position
/// does not exist.
pub(super) async fn resolve(
    settings: &EventHubsSettings,
    connection: &Connection,
    partition: &PartitionId,
) -> std::result::Result<Result<u64>, Trouble> {
    // Asked for each time: what was there may have expired since.
    let state = &connection.state(partition).await?;
    let position = match settings.start_of(partition) {
        StartAt::Latest => return Ok(Ok(state.end)),
        StartAt::At(position) => position,
    };
    match position {
        Position::Earliest => return Ok(Ok(state.begin)),
        Position::SequenceNumber { number, inclusive } => {
            let start = number.saturating_add(u64::from(!inclusive));
            return Ok(if start > state.end { Err(beyond(settings, partition, start, state)) } else { Ok(start) });
        }
        // Nothing is there that could be at the position or behind it.
        Position::Offset { .. } if state.is_empty() => return Ok(Ok(state.end)),
        Position::Offset { offset, inclusive: false } if *offset == state.last_offset => return Ok(Ok(state.end)),
        Position::EnqueuedTime { time_us, inclusive } if !has_from(state, *time_us, *inclusive) => {
            return Ok(Ok(state.end));
        }
        Position::Offset { .. } | Position::EnqueuedTime { .. } => {}
    }
    first_at(settings, partition, position.clone()).await.map(Ok)
}

/// Whether a partition has a message that came at this time or later; the service
/// tells times in milliseconds.
fn has_from(state: &PartitionState, time_us: i64, inclusive: bool) -> bool {
    let last_us = state.last_enqueued_us.unwrap_or(i64::MIN);
    !state.is_empty() && (last_us > time_us || (inclusive && last_us == time_us))
}

/// The sequence number of the first message at a position, which is there. The
/// connection is its own: a receiver is attached until its connection is closed.
async fn first_at(
    settings: &EventHubsSettings,
    partition: &PartitionId,
    position: Position,
) -> std::result::Result<u64, Trouble> {
    let connection = settings.hub.connect(&settings.consumer_group, settings.timeout).await?;
    let first = first_of(settings, &connection, partition, position).await;
    connection.close().await;
    first
}

async fn first_of(
    settings: &EventHubsSettings,
    connection: &Connection,
    partition: &PartitionId,
    position: Position,
) -> std::result::Result<u64, Trouble> {
    let owner_level = settings.owner_level;
    let receiver = ReceiverSettings { partition: partition.clone(), position, prefetch: 1, owner_level };
    let receiver = connection.receiver(&receiver).await?;
    let mut messages = receiver.messages();
    let message = match tokio::time::timeout(settings.timeout, messages.next()).await {
        Ok(Some(message)) => message?,
        Ok(None) | Err(_) => {
            return Err(Trouble::gone(format!("partition {partition} gave no message from the position `start` on")));
        }
    };
    message.sequence_number().ok_or_else(|| Trouble::gone("a message has no sequence number"))
}

fn beyond(settings: &EventHubsSettings, partition: &PartitionId, start: u64, state: &PartitionState) -> Error {
    let end = state.end;
    Error::config(format!(
        "`start` is sequence number {start}, but partition {partition} of the {} ends before {end}: choose a position up \
         to there, or `start = \"latest\"`",
        settings.hub
    ))
}
