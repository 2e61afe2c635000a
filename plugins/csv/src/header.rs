//! The names of fields, and which columns want them.

use std::collections::{BTreeMap, BTreeSet};

use weir_plugin::NameCase;
use weir_values::columns::Column;

use crate::config::Dialect;
use crate::record::{self, Fault};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text without the byte-order mark that may stand in front.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The name of the field at a place that has none.
pub(crate) fn by_place(index: usize) -> String {
    format!("_c{index}")
}

/// The names in a header. A field without a name, and one with a name that came
/// before, is called by its place.
///
/// # Errors
/// The header is no record.
pub(crate) fn names(header: &[u8], dialect: &Dialect, case: NameCase) -> Result<Vec<String>, Fault> {
    let header = without_mark(header);
    let mut fields = Vec::new();
    if header.is_empty() {
        return Ok(Vec::new());
    }
    record::read(header, 0, dialect, &mut fields)?;
    let mut seen = BTreeSet::new();
    let mut scratch = Vec::new();
    let named = fields.iter().enumerate().map(|(index, field)| {
        let name = String::from_utf8_lossy(field.text(header, dialect, &mut scratch)).into_owned();
        if name.is_empty() || !seen.insert(folded(&name, case)) { by_place(index) } else { name }
    });
    Ok(named.collect())
}

/// A name as it is compared.
fn folded(name: &str, case: NameCase) -> String {
    match case {
        NameCase::Sensitive => name.to_owned(),
        NameCase::Folded => name.to_lowercase(),
    }
}

/// Which columns want which names.
#[derive(Debug)]
pub(crate) struct Wanted {
    case: NameCase,
    columns: BTreeMap<String, Vec<usize>>,
}

impl Wanted {
    pub(crate) fn new(columns: &[Column], case: NameCase) -> Self {
        let mut wanted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, column) in columns.iter().enumerate() {
            if let [name] = column.path.as_slice() {
                wanted.entry(folded(name, case)).or_default().push(index);
            }
        }
        Self { case, columns: wanted }
    }

    fn by(&self, name: &str) -> Vec<usize> {
        self.columns.get(&folded(name, self.case)).cloned().unwrap_or_default()
    }
}

/// The fields of records, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// The header that the first of them come from.
    header: Vec<u8>,
    /// How many of them it names.
    named: usize,
    fields: Vec<Field>,
}

/// One field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// The columns that take its value.
    pub(crate) columns: Vec<usize>,
}

impl Fields {
    /// Take over a header, unless it is the one of last time.
    ///
    /// # Errors
    /// The header is no record.
    pub(crate) fn take_over(&mut self, header: &[u8], dialect: &Dialect, wanted: &Wanted) -> Result<(), Fault> {
        if self.header == header && !header.is_empty() {
            return Ok(());
        }
        let names = names(header, dialect, wanted.case)?;
        let field = |name: String| Field { columns: wanted.by(&name), name };
        *self = Self { header: header.to_vec(), named: names.len(), fields: names.into_iter().map(field).collect() };
        Ok(())
    }

    /// How many fields the header names.
    pub(crate) fn named(&self) -> usize {
        self.named
    }

    /// The field at a place; behind the header it is called by it.
    #[inline]
    pub(crate) fn get(&mut self, index: usize, wanted: &Wanted) -> &Field {
        if index >= self.fields.len() {
            self.grow(index, wanted);
        }
        &self.fields[index]
    }

    #[cold]
    fn grow(&mut self, index: usize, wanted: &Wanted) {
        for next in self.fields.len()..=index {
            let name = by_place(next);
            self.fields.push(Field { columns: wanted.by(&name), name });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::dialect;

    #[test]
    fn every_field_has_a_name_of_its_own() {
        let check = |header: &str, case, expected: &[&str]| {
            assert_eq!(
                names(header.as_bytes(), &dialect(), case),
                Ok(expected.iter().map(|name| (*name).to_owned()).collect())
            );
        };
        check("\u{feff}id,\"a,b\",größe", NameCase::Sensitive, &["id", "a,b", "größe"]);
        check("a,,a,A", NameCase::Sensitive, &["a", "_c1", "_c2", "A"]);
        check("a,,a,A", NameCase::Folded, &["a", "_c1", "_c2", "_c3"]);
        check("", NameCase::Sensitive, &[]);
        assert!(names(b"a,\"b", &dialect(), NameCase::Sensitive).is_err());
    }
}
