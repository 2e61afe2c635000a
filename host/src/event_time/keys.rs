//! Keys: the values of the key columns of a row as bytes that can be compared,
//! and as a small number while something of that key is open.

use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;

use crate::{Error, Result};

/// The columns of rows that make a key. A null is a value of its own.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    indices: Vec<usize>,
    converter: Option<Arc<RowConverter>>,
    hasher: RandomState,
}

/// The keys of a batch, one for each row.
#[derive(Debug)]
pub struct KeyRows {
    rows: Option<Rows>,
    hashes: Vec<u64>,
}

/// One seed for all, because groups outlive the columns that their keys came from
/// when another version of a plugin takes over.
fn hasher() -> RandomState {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    SEED.get_or_init(RandomState::new).clone()
}

impl KeyColumns {
    /// The columns of these names; without any, all rows have the same key.
    ///
    /// # Errors
    /// Config, naming a column that there is not or whose type is no key.
    pub fn new(names: &[String], rows: &Schema) -> Result<Self> {
        let (mut indices, mut fields) = (Vec::new(), Vec::new());
        for name in names {
            let among = || rows.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            let index = rows.index_of(name).map_err(|_| {
                Error::config(format!("the rows have no column `{name}` to be a key, they have {}", among()))
            })?;
            let kind = rows.field(index).data_type();
            if !matches!(
                kind,
                DataType::Utf8 | DataType::Binary | DataType::Int64 | DataType::Boolean | DataType::Timestamp(..)
            ) {
                return Err(Error::config(format!(
                    "the column `{name}` cannot be a key: allowed are text, binary, whole numbers, booleans and timestamps"
                )));
            }
            indices.push(index);
            fields.push(SortField::new(kind.clone()));
        }
        let unusable = |error| Error::bug("the key columns cannot be compared").because(error);
        let converter = match fields.is_empty() {
            true => None,
            false => Some(Arc::new(RowConverter::new(fields).map_err(unusable)?)),
        };
        Ok(Self { indices, converter, hasher: hasher() })
    }

    /// The key of each row.
    ///
    /// # Errors
    /// Bug if the batch does not have the columns.
    pub fn rows(&self, batch: &RecordBatch) -> Result<KeyRows> {
        let columns: Vec<ArrayRef> = self.indices.iter().map(|index| Arc::clone(batch.column(*index))).collect();
        self.of_columns(&columns, batch.num_rows())
    }

    /// The keys that these key columns hold.
    ///
    /// # Errors
    /// Bug if the columns do not have the types.
    pub(super) fn of_columns(&self, columns: &[ArrayRef], rows: usize) -> Result<KeyRows> {
        let Some(converter) = &self.converter else {
            return Ok(KeyRows { rows: None, hashes: vec![self.hasher.hash_one([0_u8; 0]); rows] });
        };
        let rows = converter
            .convert_columns(columns)
            .map_err(|error| Error::bug("the key columns have other types than announced").because(error))?;
        let hashes = rows.iter().map(|row| self.hasher.hash_one(row.as_ref())).collect();
        Ok(KeyRows { rows: Some(rows), hashes })
    }

    /// The key columns that these keys stand for.
    ///
    /// # Errors
    /// Bug if they are not keys of these columns.
    pub fn columns<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else { return Ok(Vec::new()) };
        let parser = converter.parser();
        converter
            .convert_rows(keys.map(|key| parser.parse(key)))
            .map_err(|error| Error::bug("keys cannot be read back").because(error))
    }

    /// The columns, by index.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl KeyRows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The key of a row, and its hash.
    pub(super) fn get(&self, row: usize) -> (&[u8], u64) {
        let key = self.rows.as_ref().map_or(&[][..], |rows| rows.row(row).data());
        (key, self.hashes[row])
    }

    /// Which of so many shards a row belongs to.
    pub fn shard(&self, row: usize, shards: usize) -> usize {
        // The upper half: the tables of the shards use the lower one.
        (self.hashes[row] >> 32) as usize % shards
    }
}

/// The number of a key, while something of it is open.
pub(super) type KeyId = u32;

/// Keys that are in use, by number. A number is used again.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    table: HashTable<KeyId>,
    keys: Vec<Key>,
    free: Vec<KeyId>,
}

#[derive(Debug, Default)]
struct Key {
    bytes: Box<[u8]>,
    hash: u64,
    /// How much of it is open.
    uses: u32,
}

impl KeyTable {
    /// The number of a key, if it has one.
    pub(super) fn find(&self, bytes: &[u8], hash: u64) -> Option<KeyId> {
        self.table.find(hash, |id| &*self.keys[*id as usize].bytes == bytes).copied()
    }

    /// The number of a key, which it gets if it has none. It has no use yet then.
    pub(super) fn find_or_insert(&mut self, bytes: &[u8], hash: u64) -> KeyId {
        if let Some(id) = self.find(bytes, hash) {
            return id;
        }
        let key = Key { bytes: bytes.into(), hash, uses: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.keys[id as usize] = key;
                id
            }
            None => {
                let id = u32::try_from(self.keys.len()).expect("invariant: memory ends before 2^32 keys");
                self.keys.push(key);
                id
            }
        };
        self.table.insert_unique(hash, id, |id| self.keys[*id as usize].hash);
        id
    }

    /// The bytes of a key in use.
    pub(super) fn bytes(&self, id: KeyId) -> &[u8] {
        &self.keys[id as usize].bytes
    }

    /// Count something more of the key.
    pub(super) fn hold(&mut self, id: KeyId) {
        self.keys[id as usize].uses += 1;
    }

    /// Count something less of the key, which loses its number with the last.
    pub(super) fn let_go(&mut self, id: KeyId) {
        let key = &mut self.keys[id as usize];
        key.uses = key.uses.saturating_sub(1);
        if key.uses == 0 {
            let hash = key.hash;
            if let Ok(entry) = self.table.find_entry(hash, |other| *other == id) {
                entry.remove();
            }
            self.keys[id as usize] = Key::default();
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Field;

    use super::*;
    use crate::ErrorKind;

    fn texts(columns: &[&[Option<&str>]]) -> RecordBatch {
        let field = |number: usize| Field::new(format!("k{number}"), DataType::Utf8, true);
        let schema = Schema::new((0..columns.len()).map(field).collect::<Vec<_>>());
        let columns = columns.iter().map(|column| Arc::new(StringArray::from(column.to_vec())) as ArrayRef);
        RecordBatch::try_new(Arc::new(schema), columns.collect()).unwrap()
    }

    fn named(names: &[&str], rows: &RecordBatch) -> Result<KeyColumns> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        KeyColumns::new(&names, &rows.schema())
    }

    #[test]
    fn nulls_and_empty_texts_are_keys_of_their_own() {
        let (no, empty) = (None, Some(""));
        let rows = texts(&[
            &[no, no, empty, empty, Some("a"), Some("ab"), Some("a")],
            &[no, empty, no, empty, Some("bc"), Some("c"), Some("bc")],
        ]);
        let columns = named(&["k0", "k1"], &rows).unwrap();
        let keys = columns.rows(&rows).unwrap();
        for one in 0..keys.len() {
            for other in 0..keys.len() {
                let is_same = one == other || (one, other) == (4, 6) || (one, other) == (6, 4);
                assert_eq!(keys.get(one).0 == keys.get(other).0, is_same, "rows {one} and {other}");
                assert!(!is_same || keys.get(one).1 == keys.get(other).1, "the hashes of {one} and {other}");
                assert!(!is_same || keys.shard(one, 3) == keys.shard(other, 3));
            }
        }
        let back = columns.columns((0..keys.len()).map(|row| keys.get(row).0)).unwrap();
        assert_eq!(back, rows.columns());
        assert_eq!(columns.columns(std::iter::empty()).unwrap()[0].len(), 0);
    }

    #[test]
    fn without_key_columns_all_rows_have_one_key() {
        let rows = texts(&[&[None, Some("a")]]);
        let keys = named(&[], &rows).unwrap();
        let of_rows = keys.rows(&rows).unwrap();
        assert_eq!((of_rows.len(), of_rows.get(0)), (2, of_rows.get(1)));
        assert!(keys.columns([of_rows.get(0).0].into_iter()).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_a_key_is_named() {
        let rows = texts(&[&[None]]);
        let error = named(&["other"], &rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`other`") && error.to_string().contains("k0"), "{error}");
        let schema = Schema::new(vec![Field::new("x", DataType::Float64, true)]);
        assert!(KeyColumns::new(&["x".to_owned()], &schema).unwrap_err().to_string().contains("`x`"));
    }

    #[test]
    fn number_of_a_key_is_used_again_when_nothing_of_it_is_open() {
        let mut table = KeyTable::default();
        // All of one hash: the bytes must tell them apart.
        let one = table.find_or_insert(b"one", 7);
        table.hold(one);
        table.hold(one);
        let other = table.find_or_insert(b"other", 7);
        table.hold(other);
        assert_ne!(one, other);
        assert_eq!((table.find(b"one", 7), table.find_or_insert(b"one", 7)), (Some(one), one));
        table.let_go(one);
        assert_eq!(table.find(b"one", 7), Some(one), "something of it is open still");
        table.let_go(one);
        assert_eq!((table.find(b"one", 7), table.find(b"other", 7)), (None, Some(other)));
        let third = table.find_or_insert(b"third", 9);
        assert_eq!((third, table.bytes(third), table.bytes(other)), (one, &b"third"[..], &b"other"[..]));
    }
}
