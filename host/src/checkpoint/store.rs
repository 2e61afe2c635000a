//! The records of one lane in a folder of any object store.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::codec::{decode, encode};
use super::record::{EpochRecord, PipelineRecord, SchemaRecord};
use crate::env::{Env, PutIfAbsent, Storage};
use crate::model::{AttemptId, Digest, Epoch, Lane, Segment};
use crate::protocol::Prepared;
use crate::protocol::prepare::{PrepareFacts, PrepareOutcome, PutFact, judge};
use crate::{Error, Result};

/// How often an unanswered put of a record is made again.
const PREPARE_TRIES: u32 = 10;
/// Records that clean-up keeps besides what recovery needs, for people.
const KEPT_RECORDS: u64 = 100;
/// The object that says whose checkpoint it is.
const PIPELINE: &str = "pipeline.json";

/// The folder of components.
const PLUGINS: &str = "plugins";

fn name_of_component(sha256: Digest) -> String {
    format!("{PLUGINS}/{sha256}.wasm")
}

/// How putting a version of a schema ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "another host may have put another schema"]
pub enum PutSchema {
    /// It is there, by this call or an equal one.
    Stored,
    /// The version is this one.
    Taken(SchemaRecord),
}

/// The checkpoint of one lane of a pipeline.
pub struct Checkpoint {
    storage: Storage,
    pipeline: PipelineRecord,
    lane: Lane,
}

impl Checkpoint {
    /// Open the checkpoint of a pipeline, or begin one.
    ///
    /// # Errors
    /// Corrupt if the folder's record is damaged or belongs to a pipeline of
    /// another name; Config if the store cannot hold a checkpoint; Unavailable if
    /// it fails.
    pub async fn open(storage: Storage, name: &str, env: &Env) -> Result<Self> {
        let ours = PipelineRecord { id: env.new_id(), name: name.to_owned() };
        let found = match Self::peek(&storage).await? {
            Some(found) => found,
            None => {
                storage.check_put_if_absent().await?;
                // Whoever comes second takes the identity of whoever came first,
                // and so does a put that happened without an answer.
                let put = storage.put_if_absent(PIPELINE, encode(&ours)?.into()).await;
                let missing = || {
                    let error = Error::unavailable(format!("cannot begin the checkpoint in {}", storage.location()));
                    match put {
                        Ok(PutIfAbsent::Created | PutIfAbsent::Exists) => error,
                        Err(cause) => error.because(cause),
                    }
                };
                Self::peek(&storage).await?.ok_or_else(missing)?
            }
        };
        if found.name != name {
            return Err(Error::corrupt(format!(
                "the checkpoint {} belongs to the pipeline `{}`, not to `{name}`: give each pipeline a folder of its own",
                storage.location(),
                found.name
            )));
        }
        storage.sync(&[PIPELINE.to_owned()]).await?;
        Ok(Self { storage, pipeline: found, lane: Lane::single() })
    }

    /// The checkpoint in a folder, if there is one; changes nothing.
    ///
    /// # Errors
    /// As [`Checkpoint::peek`].
    pub async fn find(storage: Storage) -> Result<Option<Self>> {
        let found = Self::peek(&storage).await?;
        Ok(found.map(|pipeline| Self { storage, pipeline, lane: Lane::single() }))
    }

    /// The newest record, if there is one.
    ///
    /// # Errors
    /// As [`Checkpoint::epochs`] and [`Checkpoint::read`].
    pub async fn newest(&self) -> Result<Option<EpochRecord>> {
        match self.epochs().await?.last() {
            Some(newest) => self.read(*newest).await,
            None => Ok(None),
        }
    }

    /// Whose checkpoint a folder is, if it is one.
    ///
    /// # Errors
    /// Corrupt if the record is damaged; Unavailable if the store fails.
    pub async fn peek(storage: &Storage) -> Result<Option<PipelineRecord>> {
        let bytes = storage.get(PIPELINE).await?;
        bytes.map(|bytes| decode(&format!("{}/{PIPELINE}", storage.location()), &bytes)).transpose()
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &PipelineRecord {
        &self.pipeline
    }

    /// The lane.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The name under which a table records the transactions of this lane.
    pub fn application_id(&self, table: &str) -> String {
        format!("{}/{}/{table}", self.pipeline.id, self.lane)
    }

    /// The epochs that have a record, in ascending order.
    ///
    /// # Errors
    /// Corrupt if a foreign object lies among the records; Unavailable if the
    /// store fails.
    pub async fn epochs(&self) -> Result<Vec<Epoch>> {
        let folder = format!("{}/epochs", self.lane);
        let names = self.storage.list(&folder).await?;
        names.iter().map(|name| self.epoch_of(name)).collect()
    }

    /// The record of an epoch, if there is one.
    ///
    /// # Errors
    /// Corrupt if it is damaged or of another pipeline, lane or epoch;
    /// Unavailable if the store fails.
    pub async fn read(&self, epoch: Epoch) -> Result<Option<EpochRecord>> {
        let name = self.name_of(epoch);
        let Some(bytes) = self.storage.get(&name).await? else { return Ok(None) };
        let record: EpochRecord = decode(&format!("{}/{name}", self.storage.location()), &bytes)?;
        let is_ahead = record.segments().any(|segment| segment.through > epoch);
        if record.pipeline != self.pipeline.id || record.lane != self.lane || record.epoch != epoch || is_ahead {
            return Err(Error::corrupt(format!(
                "the record `{name}` in {} is of epoch {} of the pipeline {}: restore the one that belongs there",
                self.storage.location(),
                record.epoch,
                record.pipeline
            )));
        }
        Ok(Some(record))
    }

    /// Make a record that was found survive a loss of power: whoever wrote it may
    /// have died before.
    ///
    /// # Errors
    /// Unavailable if the disk refuses.
    pub async fn sync(&self, epoch: Epoch) -> Result<()> {
        self.storage.sync(&[self.name_of(epoch)]).await
    }

    /// The records of these epochs, which must exist.
    ///
    /// # Errors
    /// As [`Checkpoint::read`]; Corrupt if one is missing.
    pub async fn read_all(&self, epochs: impl Iterator<Item = Epoch>) -> Result<Vec<EpochRecord>> {
        let mut records = Vec::new();
        for epoch in epochs {
            let missing = || {
                let (name, location) = (self.name_of(epoch), self.storage.location());
                Error::corrupt(format!("the record `{name}` is missing in {location}: restore it from a copy"))
            };
            records.push(self.read(epoch).await?.ok_or_else(missing)?);
        }
        Ok(records)
    }

    /// Prepare an epoch: make its record durable, if no other attempt has.
    ///
    /// # Errors
    /// Fenced if another attempt has the epoch; Unavailable if the outcome
    /// cannot be learnt.
    pub async fn prepare(&self, record: &EpochRecord) -> Result<Prepared> {
        let name = self.name_of(record.epoch);
        let bytes = Bytes::from(encode(record)?);
        let mut unanswered = None;
        for _ in 0..PREPARE_TRIES {
            let put = match self.storage.put_if_absent(&name, bytes.clone()).await {
                Ok(PutIfAbsent::Created) => PutFact::Created,
                Ok(PutIfAbsent::Exists) => PutFact::Exists,
                Err(error) => {
                    unanswered = Some(error);
                    PutFact::Unknown
                }
            };
            match self.judge(record, put).await? {
                PrepareOutcome::Won(prepared) => {
                    self.storage.sync(&[name]).await?;
                    return Ok(prepared);
                }
                PrepareOutcome::Lost => {
                    return Err(Error::fenced(format!(
                        "another host has prepared epoch {} of the pipeline `{}`: this one stops",
                        record.epoch, self.pipeline.name
                    )));
                }
                PrepareOutcome::Again => {}
            }
        }
        let failed = unanswered.unwrap_or_else(|| Error::bug("a put has neither failed nor an outcome"));
        Err(failed.during(format!("epoch {} is not prepared", record.epoch)))
    }

    async fn judge(&self, record: &EpochRecord, put: PutFact) -> Result<PrepareOutcome> {
        let holder: Option<AttemptId> = match put {
            PutFact::Created => Some(record.attempt.clone()),
            PutFact::Exists | PutFact::Unknown => self.read(record.epoch).await?.map(|record| record.attempt),
        };
        let newest = self.epochs().await?.last().copied();
        let facts =
            PrepareFacts { epoch: record.epoch, attempt: &record.attempt, put, holder: holder.as_ref(), newest };
        Ok(judge(&facts))
    }

    /// Write a segment of the state of `step` that the record of `epoch` will name;
    /// it counts once that record is prepared.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn write_segment(
        &self,
        step: &str,
        (epoch, attempt): (Epoch, &AttemptId),
        through: Epoch,
        (bytes, entries): (Bytes, u64),
    ) -> Result<Segment> {
        let name = format!("{}/state/{step}/{:020}-{attempt}", self.lane, epoch.number());
        let segment = Segment { name, through, entries, size_bytes: bytes.len() as u64, sha256: Digest::of(&bytes) };
        self.storage.put(&segment.name, bytes).await?;
        self.storage.sync(std::slice::from_ref(&segment.name)).await?;
        Ok(segment)
    }

    /// Read a state segment that a record names.
    ///
    /// # Errors
    /// Corrupt if it is missing or damaged; Unavailable if the store fails.
    pub async fn read_segment(&self, segment: &Segment) -> Result<Bytes> {
        let damaged = |what: &str| {
            let (name, location) = (&segment.name, self.storage.location());
            Error::corrupt(format!("the state `{name}` in {location} {what}: restore it from a copy"))
        };
        let bytes = self.storage.get(&segment.name).await?.ok_or_else(|| damaged("is missing"))?;
        if Digest::of(&bytes) != segment.sha256 {
            return Err(damaged("does not have the digest that its record names"));
        }
        Ok(bytes)
    }

    /// The newest version of the source's schema, if there is one.
    ///
    /// # Errors
    /// Corrupt if it is damaged or a foreign object lies there; Unavailable if the
    /// store fails.
    pub async fn newest_schema(&self) -> Result<Option<SchemaRecord>> {
        let names = self.storage.list(&format!("{}/schema", self.lane)).await?;
        let versions = names.iter().map(|name| self.number_of(name)).collect::<Result<Vec<u64>>>()?;
        let Some(newest) = versions.into_iter().max() else { return Ok(None) };
        self.read_schema(newest).await
    }

    /// A version of the source's schema, if it is there.
    ///
    /// # Errors
    /// Corrupt if it is damaged; Unavailable if the store fails.
    async fn read_schema(&self, version: u64) -> Result<Option<SchemaRecord>> {
        let name = self.name_of_schema(version);
        let Some(bytes) = self.storage.get(&name).await? else { return Ok(None) };
        let record: SchemaRecord = decode(&format!("{}/{name}", self.storage.location()), &bytes)?;
        if record.version != version {
            let (location, found) = (self.storage.location(), record.version);
            return Err(Error::corrupt(format!(
                "the record `{name}` in {location} is of version {found}: restore the one that belongs there"
            )));
        }
        Ok(Some(record))
    }

    /// Make a version of the source's schema durable, unless there is one. What
    /// comes to be at the same time elsewhere is found, not written over.
    ///
    /// # Errors
    /// Unavailable if the outcome cannot be learnt.
    pub async fn put_schema(&self, record: &SchemaRecord) -> Result<PutSchema> {
        let name = self.name_of_schema(record.version);
        let bytes = Bytes::from(encode(record)?);
        let mut unanswered = None;
        for _ in 0..PREPARE_TRIES {
            if let Err(error) = self.storage.put_if_absent(&name, bytes.clone()).await {
                unanswered = Some(error);
            }
            if let Some(found) = self.read_schema(record.version).await? {
                self.storage.sync(std::slice::from_ref(&name)).await?;
                return Ok(if found == *record { PutSchema::Stored } else { PutSchema::Taken(found) });
            }
        }
        let failed = unanswered.unwrap_or_else(|| Error::unavailable("a schema that was put cannot be read"));
        Err(failed.during(format!("version {} of the schema is not stored", record.version)))
    }

    /// The components that are kept.
    ///
    /// # Errors
    /// Corrupt if a foreign object lies among them; Unavailable if the store fails.
    pub async fn components(&self) -> Result<BTreeSet<Digest>> {
        let names = self.storage.list(PLUGINS).await?;
        let digest = |name: &String| {
            let file = name.rsplit('/').next().and_then(|file| file.strip_suffix(".wasm"));
            file.and_then(|digest| digest.parse().ok()).ok_or_else(|| self.foreign(name))
        };
        names.iter().map(digest).collect()
    }

    /// A component that is kept.
    ///
    /// # Errors
    /// Corrupt if it is missing or damaged; Unavailable if the store fails.
    pub async fn component(&self, sha256: Digest) -> Result<Bytes> {
        let name = name_of_component(sha256);
        let damaged = |what: &str| {
            let location = self.storage.location();
            Error::corrupt(format!("the component `{name}` in {location} {what}: restore it from a copy"))
        };
        let bytes = self.storage.get(&name).await?.ok_or_else(|| damaged("is missing"))?;
        if Digest::of(&bytes) == sha256 { Ok(bytes) } else { Err(damaged("does not have the digest of its name")) }
    }

    /// Keep a component.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn keep_component(&self, sha256: Digest, bytes: Bytes) -> Result<()> {
        let name = name_of_component(sha256);
        self.storage.put(&name, bytes).await?;
        self.storage.sync(&[name]).await
    }

    /// Keep a component no longer.
    ///
    /// # Errors
    /// Unavailable if the store fails.
    pub async fn drop_component(&self, sha256: Digest) -> Result<()> {
        self.storage.delete(&name_of_component(sha256)).await
    }

    /// Remove records that no recovery needs, oldest first, and state segments
    /// that no kept record names. Best effort: what fails is removed next time.
    ///
    /// `newest` must be committed in all tables.
    pub async fn clean_up(&self, newest: &EpochRecord) {
        if let Err(error) = self.try_clean_up(newest).await {
            tracing::warn!("clean-up of the checkpoint is put off: {error}");
        }
    }

    async fn try_clean_up(&self, newest: &EpochRecord) -> Result<()> {
        let kept_from = newest.epoch.number().saturating_sub(KEPT_RECORDS - 1);
        let needed_from = newest.first_needed().number();
        let epochs = self.epochs().await?;
        let old = epochs.iter().filter(|epoch| epoch.number() < kept_from.min(needed_from));
        for epoch in old {
            self.storage.delete(&self.name_of(*epoch)).await?;
        }
        // A segment that was written for this epoch or an earlier one, and is not
        // named now, is never named again. Later ones may be of a successor.
        let named: BTreeSet<&str> = newest.segments().map(|segment| segment.name.as_str()).collect();
        let written_for = |name: &str| name.rsplit('/').next().and_then(|file| file.get(..20)?.parse::<u64>().ok());
        for name in self.storage.list(&format!("{}/state", self.lane)).await? {
            if !named.contains(name.as_str()) && written_for(&name).is_some_and(|epoch| epoch <= newest.epoch.number())
            {
                self.storage.delete(&name).await?;
            }
        }
        Ok(())
    }

    fn name_of(&self, epoch: Epoch) -> String {
        format!("{}/epochs/{:020}.json", self.lane, epoch.number())
    }

    fn name_of_schema(&self, version: u64) -> String {
        format!("{}/schema/{version:020}.json", self.lane)
    }

    fn epoch_of(&self, name: &str) -> Result<Epoch> {
        Epoch::new(self.number_of(name)?).ok_or_else(|| self.foreign(name))
    }

    /// The number that a record has as its name.
    fn number_of(&self, name: &str) -> Result<u64> {
        let number = name.rsplit('/').next().and_then(|file| file.strip_suffix(".json"));
        let number = number.filter(|number| number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit()));
        number.and_then(|number| number.parse().ok()).ok_or_else(|| self.foreign(name))
    }

    fn foreign(&self, name: &str) -> Error {
        let location = self.storage.location();
        Error::corrupt(format!("`{name}` does not belong into the checkpoint {location}: move it elsewhere"))
    }
}
