//! The bounded queue between a source and the pipeline, which slows the source
//! down and knows for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Chunk;
use crate::env::Stopwatch;

/// Where a source delivers chunks; bounded, so that a slow pipeline slows it.
#[derive(Debug, Clone)]
pub struct ChunkSender {
    queue: mpsc::Sender<Chunk>,
    waited: Waited,
}

/// How long a source has waited for room in its queue.
#[derive(Debug, Clone, Default)]
pub struct Waited(Arc<AtomicU64>);

impl Waited {
    /// The time until now.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl ChunkSender {
    /// A queue of so many chunks, at least one.
    pub fn bounded(chunks: usize) -> (Self, mpsc::Receiver<Chunk>) {
        let (queue, chunks) = mpsc::channel(chunks.max(1));
        (Self { queue, waited: Waited::default() }, chunks)
    }

    /// The clock of the time that senders wait.
    pub fn waited(&self) -> Waited {
        self.waited.clone()
    }

    /// Deliver a chunk from a thread of its own; waits for room.
    ///
    /// # Errors
    /// Fails if the receiver is gone: nobody wants more.
    pub fn blocking_send(&self, chunk: Chunk) -> Result<(), Unwanted> {
        let watch = Stopwatch::start();
        let sent = self.queue.blocking_send(chunk).map_err(|_| Unwanted);
        self.waited.add(watch.elapsed());
        sent
    }

    /// Deliver a chunk; waits for room.
    ///
    /// # Errors
    /// Fails if the receiver is gone: nobody wants more.
    pub async fn send(&self, chunk: Chunk) -> Result<(), Unwanted> {
        let watch = Stopwatch::start();
        let sent = self.queue.send(chunk).await.map_err(|_| Unwanted);
        self.waited.add(watch.elapsed());
        sent
    }
}

/// The receiver of chunks is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwanted;
