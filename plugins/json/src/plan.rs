//! Where the values of the columns are: the paths as a tree of keys.
//!
//! Each object of the tree remembers the order in which its keys came last
//! time, the ignored ones included. Producers write their keys in a fixed
//! order, so one comparison usually tells which field comes next.

use crate::config::Column;

/// Nothing wants the value of this key.
pub(crate) const IGNORED: usize = usize::MAX;

/// How many keys of an order are remembered.
const GUESSES_MAX: usize = 64;
/// How many keys may be missing, compared to last time, before a guess fails.
const LOOKAHEAD: usize = 4;
/// Longer keys are not worth remembering.
const KEY_MAX: usize = 64;

/// A key, as it is expected in the text: `"key":`.
#[derive(Clone, Debug)]
struct Guess {
    text: Box<[u8]>,
    /// The first bytes of the text as a number, and which of them count.
    head: u128,
    mask: u128,
    field: usize,
}

impl Guess {
    fn new(text: &[u8], field: usize) -> Self {
        let mut head = [0; 16];
        let length = text.len().min(16);
        head[..length].copy_from_slice(&text[..length]);
        let mask = if length == 16 { u128::MAX } else { (1 << (8 * length)) - 1 };
        Self { text: text.into(), head: u128::from_le_bytes(head), mask, field }
    }

    #[inline]
    fn matches(&self, rest: &[u8]) -> bool {
        match rest.first_chunk::<16>() {
            Some(head) => {
                (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0
                    && (self.text.len() <= 16 || rest.starts_with(&self.text))
            }
            None => rest.starts_with(&self.text),
        }
    }
}

/// One key of interest.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    key: Box<[u8]>,
    /// The columns that take the value itself.
    pub(crate) columns: Vec<usize>,
    /// The keys inside the value that are of interest.
    pub(crate) inside: Option<Box<Object>>,
    /// The columns that take something inside the value.
    pub(crate) columns_inside: Vec<usize>,
    /// The element in which the key came last, counted from 1.
    pub(crate) seen_in: u64,
}

/// The keys of interest of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    /// Sorted by key.
    pub(crate) fields: Vec<Field>,
    guesses: Vec<Guess>,
}

impl Object {
    /// The tree of all paths.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let mut root = Self::default();
        for (index, column) in columns.iter().enumerate() {
            root.insert(&column.path, index);
        }
        root
    }

    fn insert(&mut self, path: &[String], column: usize) {
        let Some((key, below)) = path.split_first() else {
            return;
        };
        let at = match self.fields.binary_search_by(|field| (*field.key).cmp(key.as_bytes())) {
            Ok(at) => at,
            Err(at) => {
                let key = key.as_bytes().into();
                let field = Field { key, columns: vec![], inside: None, columns_inside: vec![], seen_in: 0 };
                self.fields.insert(at, field);
                at
            }
        };
        let field = &mut self.fields[at];
        if below.is_empty() {
            field.columns.push(column);
        } else {
            field.columns_inside.push(column);
            field.inside.get_or_insert_default().insert(below, column);
        }
    }

    /// If the text goes on with one of the next guesses, the field and the
    /// length of the key with its colon. `next` is the place in the order.
    #[inline]
    pub(crate) fn guess(&self, rest: &[u8], next: &mut usize) -> Option<(usize, usize)> {
        for (skipped, guess) in self.guesses.get(*next..)?.iter().take(LOOKAHEAD).enumerate() {
            if guess.matches(rest) {
                *next += skipped + 1;
                return Some((guess.field, guess.text.len()));
            }
        }
        None
    }

    /// The field of a key, or [`IGNORED`].
    pub(crate) fn find(&self, key: &[u8]) -> usize {
        self.fields.binary_search_by(|field| (*field.key).cmp(key)).unwrap_or(IGNORED)
    }

    /// Remember that `text`, a key with quotes and colon, came at place `next`.
    pub(crate) fn learn(&mut self, text: &[u8], field: usize, next: &mut usize) {
        if text.len() > KEY_MAX {
            return;
        }
        if let Some(old) = self.guesses.iter().position(|guess| *guess.text == *text) {
            self.guesses.remove(old);
            *next -= usize::from(old < *next);
        }
        let at = (*next).min(self.guesses.len());
        if self.guesses.len() == GUESSES_MAX {
            if at == GUESSES_MAX {
                return;
            }
            self.guesses.pop();
        }
        self.guesses.insert(at, Guess::new(text, field));
        *next = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_learnt_and_gaps_are_leapt() {
        let mut object = Object::default();
        let mut next = 0;
        for (field, text) in ["\"a\":", "\"a_key_longer_than_sixteen\":", "\"c\":"].iter().enumerate() {
            object.learn(text.as_bytes(), field, &mut next);
        }
        next = 0;
        assert_eq!(object.guess(b"\"a\": 1, \"padding\": true", &mut next), Some((0, 4)));
        assert_eq!(object.guess(b"\"a_key_longer_than_sixteen\":1", &mut next), Some((1, 28)));
        assert_eq!(object.guess(b"\"a_key_longer_than_sixtyyy\":1", &mut 1), None);
        next = 0;
        assert_eq!(object.guess(b"\"c\":1", &mut next), Some((2, 4)), "near the end, behind a gap");
        assert_eq!(next, 3);
    }

    #[test]
    fn ever_new_keys_do_not_grow_the_order() {
        let mut object = Object::default();
        for round in 0..1000 {
            let mut next = round % 65;
            object.learn(format!("\"key{round}\":").as_bytes(), IGNORED, &mut next);
            assert!(next <= GUESSES_MAX);
        }
        assert!(object.guesses.len() <= GUESSES_MAX);
    }
}
