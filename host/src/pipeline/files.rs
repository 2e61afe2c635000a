//! What the ledger of a pipeline's checkpoint says of its files.

use std::collections::BTreeMap;

use super::recovery::epoch_range;
use crate::checkpoint::{Checkpoint, EpochRecord};
use crate::config::{Pipeline, SourceConfig};
use crate::env::{Env, Location, Storage};
use crate::model::Epoch;
use crate::source::files::{Clean, CleanSource, FilesSettings, LedgerLine, read_segment};
use crate::{Error, Result};

/// All that was ingested, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesSummary {
    /// How many files were read; each version of a file counts.
    pub files: u64,
    /// Their bytes, as they lie in the source.
    pub bytes: u64,
    /// How many were passed over at the first start.
    pub skipped: u64,
    /// The first epoch that read a file, and its clock.
    pub first: Option<(Epoch, Option<i64>)>,
    /// The last one.
    pub last: Option<(Epoch, Option<i64>)>,
}

/// One file that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFile {
    /// The path below the source's folder.
    pub path: String,
    /// The versions of it that are in the ledger, oldest first.
    pub lines: Vec<LedgerLine>,
    /// Where it is now.
    pub place: FilePlace,
}

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePlace {
    /// In the source.
    Source,
    /// Where files are moved that were read.
    Moved,
    /// In neither.
    Gone,
}

/// All that a pipeline has ingested. Changes nothing.
///
/// # Errors
/// Config if its source is not files; Corrupt if the checkpoint is damaged;
/// Unavailable if it cannot be read.
pub async fn files_summary(pipeline: &Pipeline, env: &Env) -> Result<FilesSummary> {
    settings_of(pipeline)?;
    let mut summary = FilesSummary::default();
    each_line(pipeline, env, |line| {
        if line.skipped {
            summary.skipped += 1;
            return;
        }
        summary.files += 1;
        summary.bytes += line.size;
        let epoch = (line.epoch, line.taken_us);
        summary.first = summary.first.filter(|first| first.0 <= line.epoch).or(Some(epoch));
        summary.last = summary.last.filter(|last| last.0 >= line.epoch).or(Some(epoch));
    })
    .await?;
    Ok(summary)
}

/// What the ledger says of these files, in their order. A path is below the
/// source's folder, or a location in it, relative to the working folder.
///
/// # Errors
/// As [`files_summary`].
pub async fn find_files(pipeline: &Pipeline, env: &Env, paths: &[String]) -> Result<Vec<AskedFile>> {
    let settings = settings_of(pipeline)?;
    let asked: Vec<[String; 2]> = paths.iter().map(|path| spellings(&settings.folder, path)).collect();
    let mut found: BTreeMap<&str, Vec<LedgerLine>> =
        asked.iter().flatten().map(|path| (path.as_str(), Vec::new())).collect();
    each_line(pipeline, env, |line| {
        if let Some(lines) = found.get_mut(line.path.as_str()) {
            lines.push(line);
        }
    })
    .await?;
    let folder = env.storage(&settings.folder)?;
    let target = match &settings.clean {
        Some(CleanSource { how: Clean::Move(target), .. }) => Some(env.storage(target)?),
        Some(CleanSource { how: Clean::Delete, .. }) | None => None,
    };
    let mut files = Vec::new();
    for [within, given] in &asked {
        let lines = |path: &String| found.get(path.as_str()).filter(|lines| !lines.is_empty());
        let path = if lines(given).is_some() { given } else { within };
        let lines = lines(path).cloned().unwrap_or_default();
        files.push(AskedFile { path: path.clone(), lines, place: place(path, &folder, target.as_ref()).await? });
    }
    Ok(files)
}

async fn place(path: &str, folder: &Storage, target: Option<&Storage>) -> Result<FilePlace> {
    if folder.has(path).await? {
        return Ok(FilePlace::Source);
    }
    match target {
        Some(target) if target.has(path).await? => Ok(FilePlace::Moved),
        Some(_) | None => Ok(FilePlace::Gone),
    }
}

fn settings_of(pipeline: &Pipeline) -> Result<&FilesSettings> {
    match &pipeline.source {
        SourceConfig::Files(settings) => Ok(settings.as_ref()),
        SourceConfig::EventHubs(_) | SourceConfig::Generator(_) => Err(Error::config(format!(
            "the pipeline `{}` does not read files: there is no ledger to ask",
            pipeline.name
        ))),
    }
}

/// A path as one below the folder, if it is a location in it, and as it was given.
fn spellings(folder: &Location, path: &str) -> [String; 2] {
    let given = path.strip_prefix("./").unwrap_or(path).to_owned();
    let location = Location::parse(path, std::path::Path::new(""));
    let below = match (&location, folder) {
        (Ok(Location::Local(path)), Location::Local(folder)) => {
            path.strip_prefix(folder).ok().and_then(|below| below.to_str()).map(str::to_owned)
        }
        (Ok(Location::Remote(_)), Location::Remote(_)) => {
            let folder = folder.to_string();
            path.strip_prefix(folder.trim_end_matches('/')).and_then(|below| below.strip_prefix('/')).map(str::to_owned)
        }
        _ => None,
    };
    [below.unwrap_or_else(|| given.clone()), given]
}

/// Every line of the ledger, in the order of the epochs.
async fn each_line(pipeline: &Pipeline, env: &Env, mut each: impl FnMut(LedgerLine)) -> Result<()> {
    let Some(checkpoint) = Checkpoint::find(env.storage(&pipeline.checkpoint)?).await? else { return Ok(()) };
    let Some(newest) = checkpoint.newest().await? else { return Ok(()) };
    for segment in &newest.source.segments {
        for line in read_segment(&checkpoint.read_segment(segment).await?) {
            each(line?);
        }
    }
    let epochs = newest.source.first_unsegmented().number()..=newest.epoch.number();
    for epoch in epochs.filter_map(Epoch::new) {
        let records: Vec<EpochRecord> = checkpoint.read_all(std::iter::once(epoch)).await?;
        for range in records.into_iter().map(epoch_range) {
            let files = range.range.files().unwrap_or_default();
            files.iter().for_each(|file| each(LedgerLine::read(range.epoch, range.clock_us, file)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_understood_as_people_write_it() {
        let here = Location::parse("in", std::path::Path::new("")).unwrap();
        let absolute = here.join("x/a.json").to_string();
        let remote = Location::parse("az://container/in/", std::path::Path::new("")).unwrap();
        for (folder, path, within) in [
            (&here, "x/a.json", "x/a.json"),
            (&here, "./x/a.json", "x/a.json"),
            (&here, "in/x/a.json", "x/a.json"),
            (&here, absolute.as_str(), "x/a.json"),
            (&remote, "az://container/in/x/a.json", "x/a.json"),
            (&remote, "x/a.json", "x/a.json"),
            (&remote, "az://container/other/a.json", "az://container/other/a.json"),
        ] {
            assert_eq!(spellings(folder, path)[0], within, "{path}");
        }
    }
}
