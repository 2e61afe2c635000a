//! When the source looks for files, what for, and what follows from it.

use std::time::{Duration, Instant};

use super::discovery::{Look, Rank, Search};
use super::ledger::Expiry;
use super::segment::{LedgerLine, SegmentWriter};
use super::watch::Watch;
use super::{FileSource, FirstStart, Sealed, Watching};
use crate::Result;
use crate::env::Location;
use crate::source::IncidentKind;

/// Listing may take one part in so many of the time between epochs,
const LISTING_SHARE: u32 = 4;
/// and one in so many while nothing new was told of.
const IDLE_LISTING_SHARE: u32 = 30;
/// How often the ledger is searched for what may be dropped.
const DROP_EVERY: Duration = Duration::from_secs(600);
/// Of so many files that changed after they were read it is warned in one run.
const MAX_WARNED: usize = 10_000;
/// What is forgotten is older than `max_file_age` by this part of it, so that a
/// clock that is set back a little does not matter.
const AGE_MARGIN: u32 = 10;

impl FileSource {
    /// Look for new files, unless the end of the run is fixed and they are all
    /// known.
    pub(super) async fn refill(&mut self) -> Result<()> {
        if matches!(self.sealed, Some(Sealed { more: false, .. })) {
            return Ok(());
        }
        let until = self.sealed.as_ref().and_then(|sealed| sealed.until.clone());
        let look = self.look(until.as_ref()).await?;
        self.backlog = look.files.into();
        if let Some(sealed) = &mut self.sealed {
            sealed.more = look.more;
        }
        Ok(())
    }

    /// Look for files up to `until`, and hand on what else was seen.
    pub(super) async fn look(&mut self, until: Option<&Rank>) -> Result<Look> {
        let started = self.clock.monotonic();
        self.drop_expired(started);
        let mut clean_before_us = None;
        if let Some(cleaner) = &mut self.cleaner
            && cleaner.is_idle(started)
        {
            clean_before_us = Some(self.clock.now_us().saturating_sub(cleaner.retention_us()));
        }
        let known = self.behind.as_ref().filter(|(_, since)| {
            let every = self.settings.backfill_interval.unwrap_or(Duration::ZERO);
            started.saturating_duration_since(*since) < every
        });
        let search = Search {
            ledger: &self.ledger,
            until,
            not_before_us: self.not_before_us(),
            behind: known.map(|(path, _)| path.as_str()),
            overwrites: self.settings.overwrites,
            clean_before_us,
        };
        let is_whole = search.behind.is_none();
        let mut look = self.discovery.look(search).await?;
        let ended = self.clock.monotonic();
        self.listing = ended.saturating_duration_since(started);
        self.note_greatest(&look, is_whole, started);
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.clean(std::mem::take(&mut look.due), self.clock.now_us(), ended);
        }
        self.warn_of_overwritten(&mut look);
        Ok(look)
    }

    /// From which path on the next look lists, if it need not list everything.
    fn note_greatest(&mut self, look: &Look, is_whole: bool, now: Instant) {
        let is_local = matches!(self.settings.folder, Location::Local(_));
        if is_local || self.settings.backfill_interval.is_none() || look.more || self.sealed.is_some() {
            // What was not brought home may have any name.
            return;
        }
        let since = match &self.behind {
            Some((_, since)) if !is_whole => *since,
            Some(_) | None => now,
        };
        let before = self.behind.take().map(|(path, _)| path);
        let greatest = before.into_iter().chain(look.greatest.clone()).max();
        self.behind = greatest.map(|path| (path, since));
    }

    fn warn_of_overwritten(&mut self, look: &mut Look) {
        for path in look.overwritten.drain(..) {
            if self.overwritten.len() < MAX_WARNED && self.overwritten.insert(path.clone()) {
                tracing::warn!(
                    file = path,
                    "the file changed after it was read, and is not read again: see `allow_overwrites`"
                );
                self.left.incidents.note(IncidentKind::FileOverwritten, None, 1, path);
            }
        }
    }

    /// Put everything that is there now into the ledger, to be passed over.
    pub(super) async fn pass_over_existing(&mut self) -> Result<()> {
        let mut writer = SegmentWriter::new();
        let (ledger, now_us) = (&mut self.ledger, self.clock.now_us());
        self.discovery
            .all(|file| {
                ledger.take(&file);
                writer.push(&LedgerLine::skipped(&file, now_us))
            })
            .await?;
        let (segment, entries) = writer.finish()?;
        tracing::info!("{entries} files are there already and are passed over");
        self.first_start = FirstStart::Unrecorded { segment, entries, is_planned: false };
        Ok(())
    }

    /// Files with an earlier modification time are not read.
    pub(super) fn not_before_us(&self) -> i64 {
        let aged = self.settings.max_age.map(|age| self.clock.now_us().saturating_sub(micros(age)));
        aged.into_iter().chain(self.ledger.dropped_before_us()).max().unwrap_or(i64::MIN)
    }

    /// What the ledger need not hold any more.
    pub(super) fn expiry(&self) -> Expiry {
        let Some(age) = self.settings.max_age else { return Expiry::default() };
        let kept = age.saturating_add(age / AGE_MARGIN);
        let now_us = self.clock.now_us();
        // A file that is to go stays known until it had all that time to go.
        let taken_before_us = match &self.cleaner {
            Some(cleaner) => now_us.saturating_sub(cleaner.retention_us()).saturating_sub(micros(kept)),
            None => i64::MAX,
        };
        Expiry { modified_before_us: now_us.saturating_sub(micros(kept)), taken_before_us }
    }

    fn drop_expired(&mut self, now: Instant) {
        let is_due = self.dropped.is_none_or(|last| now.saturating_duration_since(last) >= DROP_EVERY);
        if is_due && self.settings.max_age.is_some() {
            self.ledger.drop_expired(&self.expiry());
            self.dropped = Some(now);
        }
    }

    /// Wait until there may be something new. A folder that takes long to list is
    /// listed less often, and even less while nothing new is told of.
    pub(super) async fn wait(&mut self) {
        let poll = self.settings.poll_interval;
        if let (Watching::NotYet, Location::Local(folder)) = (&self.watch, &self.settings.folder) {
            let watch = Watch::over(folder.clone(), std::sync::Arc::clone(&self.discovery.glob)).await;
            self.watch = match watch {
                Ok(Some(watch)) => Watching::On(watch),
                Ok(None) | Err(_) => Watching::Off,
            };
            // Something may have come before the watch began.
            return;
        }
        let Watching::On(watch) = &self.watch else {
            return tokio::time::sleep(poll.max(self.listing * LISTING_SHARE)).await;
        };
        let (least, most) = (self.listing * LISTING_SHARE, poll.max(self.listing * IDLE_LISTING_SHARE));
        tokio::time::sleep(least).await;
        tokio::select! {
            () = watch.news() => {}
            () = tokio::time::sleep(most.saturating_sub(least)) => {}
        }
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
