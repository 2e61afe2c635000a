//! The message fields of files, built only when asked for.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::partitions;
use super::settings::{FileFormat, FilesSettings};
use crate::env::Location;
use crate::model::FileEntry;
use crate::{Error, Result};

/// A message field of files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileField {
    Path,
    Name,
    Size,
    ModificationTime,
    Position,
    /// The first record of a file of CSV.
    Header,
    /// What is known of the file, in one struct.
    Metadata,
    /// The value of a folder `name=value`.
    Partition(String),
}

/// What every file has.
const ALL: [FileField; 6] = [
    FileField::Path,
    FileField::Name,
    FileField::Size,
    FileField::ModificationTime,
    FileField::Position,
    FileField::Metadata,
];

/// What is in the struct.
const METADATA: [FileField; 4] = [FileField::Path, FileField::Name, FileField::Size, FileField::ModificationTime];

impl FileField {
    fn name(&self) -> &str {
        match self {
            Self::Path => "file_path",
            Self::Name => "file_name",
            Self::Size => "file_size",
            Self::ModificationTime => "file_modification_time",
            Self::Position => "position",
            Self::Header => "header",
            Self::Metadata => "_metadata",
            Self::Partition(name) => name,
        }
    }

    fn field(&self) -> Field {
        let data_type = match self {
            Self::Path | Self::Name | Self::Header | Self::Partition(_) => DataType::Utf8,
            Self::Size | Self::Position => DataType::Int64,
            Self::ModificationTime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Metadata => DataType::Struct(METADATA.iter().map(Self::field).collect()),
        };
        Field::new(self.name(), data_type, matches!(self, Self::Header | Self::Partition(_)))
    }
}

/// Whether the name is one of a message field that does not come from a folder.
pub(super) fn is_reserved(name: &str) -> bool {
    ALL.iter().chain([&FileField::Header]).any(|field| field.name().eq_ignore_ascii_case(name))
}

/// The message fields that a source of files can deliver.
#[derive(Debug, Clone)]
pub(super) struct KnownFields(Vec<FileField>);

impl KnownFields {
    /// The full location, the name, the size and the modification time of the
    /// file, the message's first byte in the decompressed file, all of the file
    /// in a struct; for CSV the first record of the file, null if it is too long
    /// for a message; and the partitions on the way to the file.
    pub(super) fn new(settings: &FilesSettings) -> Self {
        let mut fields = ALL.to_vec();
        if settings.format == FileFormat::Csv {
            fields.push(FileField::Header);
        }
        fields.extend(settings.partition_columns.iter().cloned().map(FileField::Partition));
        Self(fields)
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.0.iter().map(FileField::field).collect::<Fields>()))
    }

    /// The plan of these fields, in this order.
    ///
    /// # Errors
    /// Config if a name is not a message field of these files.
    pub(super) fn plan(&self, names: &[String]) -> Result<FieldPlan> {
        let find = |name: &String| {
            self.0.iter().find(|field| field.name() == name).cloned().ok_or_else(|| {
                let known: Vec<&str> = self.0.iter().map(FileField::name).collect();
                Error::config(format!("files have no message field `{name}`: there are {}", known.join(", ")))
            })
        };
        let fields = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(fields.iter().map(FileField::field).collect::<Fields>()));
        Ok(FieldPlan { fields, schema })
    }
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
    /// The first record, once it is known.
    header: OnceLock<String>,
}

impl FileFacts {
    pub(super) fn new(folder: &Location, entry: FileEntry) -> Self {
        let full_path = folder.join(&entry.path).to_string();
        Self { path: entry.path.as_str().into(), full_path, entry, header: OnceLock::new() }
    }

    /// The first record of the file is this, with its line end.
    pub(super) fn set_header(&self, record: &[u8]) {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        // A file is read once; another attempt has facts of its own.
        let _first = self.header.set(String::from_utf8_lossy(record).into_owned());
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
    /// Whether anyone wants to know where messages start.
    pub(super) fn wants_positions(&self) -> bool {
        self.fields.contains(&FileField::Position)
    }

    /// Whether anyone wants to know the first record of files.
    pub(super) fn wants_headers(&self) -> bool {
        self.fields.contains(&FileField::Header)
    }

    /// The fields of the messages of these runs; `positions` has one entry a
    /// message if they are wanted.
    ///
    /// # Errors
    /// Bug if the columns do not fit together.
    pub(super) fn build(&self, runs: &[Run], positions: Vec<i64>) -> Result<RecordBatch> {
        let messages: usize = runs.iter().map(|run| run.messages).sum();
        let mut positions = Some(positions);
        let columns: Vec<ArrayRef> =
            self.fields.iter().map(|field| column(field, runs, &mut positions)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(messages));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(unfit)
    }
}

fn column(field: &FileField, runs: &[Run], positions: &mut Option<Vec<i64>>) -> Result<ArrayRef> {
    Ok(match field {
        FileField::Path => texts(runs, |file| Some(file.full_path.as_str())),
        FileField::Name => texts(runs, |file| Some(file.name())),
        FileField::Header => texts(runs, |file| file.header.get().map(String::as_str)),
        FileField::Partition(name) => texts(runs, |file| partitions::value(&file.path, name)),
        FileField::Size => {
            let size = |file: &FileFacts| i64::try_from(file.entry.size).unwrap_or(i64::MAX);
            Arc::new(Int64Array::from(numbers(runs, size)))
        }
        FileField::ModificationTime => {
            let times = numbers(runs, |file| file.entry.modified_us);
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
        }
        FileField::Position => Arc::new(Int64Array::from(positions.take().unwrap_or_default())),
        FileField::Metadata => {
            let fields: Fields = METADATA.iter().map(FileField::field).collect();
            let columns = METADATA.iter().map(|field| column(field, runs, positions)).collect::<Result<_>>()?;
            Arc::new(StructArray::try_new(fields, columns, None).map_err(unfit)?)
        }
    })
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::bug("the message fields of files do not fit together").because(error)
}

fn texts<'a, T: AsRef<str>>(runs: &'a [Run], text: impl Fn(&'a FileFacts) -> Option<T>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    for run in runs {
        let text = text(&run.file);
        let text = text.as_ref().map(AsRef::as_ref);
        for _ in 0..run.messages {
            builder.append_option(text);
        }
    }
    Arc::new(builder.finish())
}

fn numbers(runs: &[Run], number: impl Fn(&FileFacts) -> i64) -> Vec<i64> {
    runs.iter().flat_map(|run| std::iter::repeat_n(number(&run.file), run.messages)).collect()
}
