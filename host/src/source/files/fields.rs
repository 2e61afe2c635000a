//! The message fields of files, built only when asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::env::Location;
use crate::model::FileEntry;
use crate::{Error, Result};

/// A message field of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileField {
    Path,
    Name,
    Size,
    ModificationTime,
    Position,
}

const ALL: [FileField; 5] =
    [FileField::Path, FileField::Name, FileField::Size, FileField::ModificationTime, FileField::Position];

impl FileField {
    fn name(self) -> &'static str {
        match self {
            Self::Path => "file_path",
            Self::Name => "file_name",
            Self::Size => "file_size",
            Self::ModificationTime => "file_modification_time",
            Self::Position => "position",
        }
    }

    fn field(self) -> Field {
        let data_type = match self {
            Self::Path | Self::Name => DataType::Utf8,
            Self::Size | Self::Position => DataType::Int64,
            Self::ModificationTime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        };
        Field::new(self.name(), data_type, false)
    }
}

/// All message fields of files: the full location, the name, the size and the
/// modification time of the file, and the message's first byte in the
/// decompressed file.
pub(super) fn all_fields() -> SchemaRef {
    Arc::new(Schema::new(ALL.map(FileField::field).to_vec()))
}

/// The file of a message, as its fields tell it.
#[derive(Debug)]
pub(super) struct FileFacts {
    /// The path below the folder.
    pub(super) path: Arc<str>,
    /// The full location.
    full_path: String,
    /// What was listed.
    pub(super) entry: FileEntry,
}

impl FileFacts {
    pub(super) fn new(folder: &Location, entry: FileEntry) -> Self {
        Self { path: entry.path.as_str().into(), full_path: folder.join(&entry.path).to_string(), entry }
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The messages of one file within a chunk.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) file: Arc<FileFacts>,
    pub(super) messages: usize,
}

/// The fields that were asked for, in that order.
#[derive(Debug, Clone)]
pub(super) struct FieldPlan {
    fields: Vec<FileField>,
    schema: SchemaRef,
}

impl FieldPlan {
    /// # Errors
    /// Config if a name is not a message field of files.
    pub(super) fn new(names: &[String]) -> Result<Self> {
        let find = |name: &String| {
            ALL.into_iter().find(|field| field.name() == name).ok_or_else(|| {
                let known = ALL.map(FileField::name).join(", ");
                Error::config(format!("files have no message field `{name}`: there are {known}"))
            })
        };
        let fields = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(fields.iter().map(|field| field.field()).collect::<Vec<_>>()));
        Ok(Self { fields, schema })
    }

    /// Whether anyone wants to know where messages start.
    pub(super) fn wants_positions(&self) -> bool {
        self.fields.contains(&FileField::Position)
    }

    /// The fields of the messages of these runs; `positions` has one entry a
    /// message if they are wanted.
    ///
    /// # Errors
    /// Bug if the columns do not fit together.
    pub(super) fn build(&self, runs: &[Run], positions: Vec<i64>) -> Result<RecordBatch> {
        let messages: usize = runs.iter().map(|run| run.messages).sum();
        let mut positions = Some(positions);
        let columns: Vec<ArrayRef> = self
            .fields
            .iter()
            .map(|field| -> ArrayRef {
                match field {
                    FileField::Path => texts(runs, |file| &file.full_path),
                    FileField::Name => texts(runs, FileFacts::name),
                    FileField::Size => {
                        let size = |file: &FileFacts| i64::try_from(file.entry.size).unwrap_or(i64::MAX);
                        Arc::new(Int64Array::from(numbers(runs, size)))
                    }
                    FileField::ModificationTime => {
                        let times = numbers(runs, |file| file.entry.modified_us);
                        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
                    }
                    FileField::Position => Arc::new(Int64Array::from(positions.take().unwrap_or_default())),
                }
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(messages));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::bug("the message fields of files do not fit together").because(error))
    }
}

fn texts(runs: &[Run], text: impl Fn(&FileFacts) -> &str) -> ArrayRef {
    let bytes = runs.iter().map(|run| run.messages * text(&run.file).len()).sum();
    let mut builder = StringBuilder::with_capacity(runs.iter().map(|run| run.messages).sum(), bytes);
    for run in runs {
        for _ in 0..run.messages {
            builder.append_value(text(&run.file));
        }
    }
    Arc::new(builder.finish())
}

fn numbers(runs: &[Run], number: impl Fn(&FileFacts) -> i64) -> Vec<i64> {
    runs.iter().flat_map(|run| std::iter::repeat_n(number(&run.file), run.messages)).collect()
}
