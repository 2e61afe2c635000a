//! Where the values of the columns are: the paths as a tree of keys.
//!
//! Each object of the tree remembers the order in which its keys came last
//! time, the ignored ones included. Producers write their keys in a fixed
//! order, so one comparison usually tells which field comes next.

use weir_plugin::NameCase;
use weir_values::columns::{self, Column};
use weir_values::wide::BLOCK;

/// How many keys of an order are remembered.
const GUESSES_MAX: usize = 64;
/// How many keys may be missing, compared to last time, before a guess fails.
const LOOKAHEAD: usize = 4;
/// Longer keys, with what stands around them, are not worth remembering.
const KEY_MAX: usize = 64;
const TWO_BLOCKS: usize = 2 * BLOCK;

/// What becomes of the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// One column takes it.
    Column(usize),
    /// Several columns, or none but something inside: the place of the field.
    Field(usize),
    /// Nothing wants it.
    Ignored,
}

/// A key, as it is expected in the text, with everything from what stands
/// before it to its value: `{"key": ` or `, "key": `.
#[derive(Clone, Debug)]
struct Guess {
    text: Box<[u8]>,
    /// The first bytes of the text as a number, and which of them count.
    head: u128,
    mask: u128,
    /// The last bytes of a text that is longer than the head.
    tail: u128,
    target: Target,
}

impl Guess {
    fn new(text: &[u8], target: Target) -> Self {
        let mut head = [0; BLOCK];
        let length = text.len().min(BLOCK);
        head[..length].copy_from_slice(&text[..length]);
        let mask = if length == BLOCK { u128::MAX } else { (1 << (8 * length)) - 1 };
        let tail = text.last_chunk().map_or(0, |tail| u128::from_le_bytes(*tail));
        Self { text: text.into(), head: u128::from_le_bytes(head), mask, tail, target }
    }

    #[inline(always)]
    fn matches(&self, rest: &[u8]) -> bool {
        let Some(head) = rest.first_chunk::<BLOCK>() else {
            return rest.starts_with(&self.text);
        };
        if (u128::from_le_bytes(*head) ^ self.head) & self.mask != 0 {
            return false;
        }
        match self.text.len() {
            ..=BLOCK => true,
            length @ ..=TWO_BLOCKS => match rest.get(length - BLOCK..).and_then(|tail| tail.first_chunk()) {
                Some(tail) => u128::from_le_bytes(*tail) == self.tail,
                None => false,
            },
            _ => rest.starts_with(&self.text),
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
    /// Sorted by key; folded, keys are in lower case.
    pub(crate) fields: Vec<Field>,
    guesses: Vec<Guess>,
    case: NameCase,
}

impl Object {
    /// The tree of all paths.
    pub(crate) fn new(columns: &[Column], case: NameCase) -> Self {
        let mut root = Self { case, ..Self::default() };
        for (index, column) in columns.iter().enumerate() {
            root.insert(&column.path, index);
        }
        root
    }

    /// The keys of a struct; its columns are numbered from 0 on.
    pub(crate) fn of_struct(fields: &[columns::Field], case: NameCase) -> Self {
        let mut root = Self { case, ..Self::default() };
        for (index, field) in fields.iter().enumerate() {
            root.insert(std::slice::from_ref(&field.name), index);
        }
        root
    }

    fn insert(&mut self, path: &[String], column: usize) {
        let Some((key, below)) = path.split_first() else {
            return;
        };
        let key = match self.case {
            NameCase::Sensitive => key.clone(),
            NameCase::Folded => key.to_lowercase(),
        };
        let at = match self.fields.binary_search_by(|field| (*field.key).cmp(key.as_bytes())) {
            Ok(at) => at,
            Err(at) => {
                let key = key.into_bytes().into();
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
            let case = self.case;
            field.inside.get_or_insert_with(|| Box::new(Self { case, ..Self::default() })).insert(below, column);
        }
    }

    /// If the text goes on with one of the next guesses, what it is for and the
    /// length of its text. `next` is the place in the order: 0 at the opening
    /// brace, and at least 1 behind a value.
    #[inline(always)]
    pub(crate) fn guess(&self, rest: &[u8], next: &mut usize) -> Option<(Target, usize)> {
        let guess = self.guesses.get(*next)?;
        if guess.matches(rest) {
            *next += 1;
            return Some((guess.target, guess.text.len()));
        }
        let (found, target, length) = self.leap(rest, *next + 1)?;
        *next = found + 1;
        Some((target, length))
    }

    /// The same for keys that may be missing, from place `next` on; with its place.
    #[inline(never)]
    fn leap(&self, rest: &[u8], next: usize) -> Option<(usize, Target, usize)> {
        let guesses = self.guesses.iter().enumerate().skip(next).take(LOOKAHEAD - 1);
        let mut matching = guesses.filter(|(_, guess)| guess.matches(rest));
        matching.next().map(|(at, guess)| (at, guess.target, guess.text.len()))
    }

    /// What becomes of the value of a key.
    pub(crate) fn find(&self, key: &[u8]) -> Target {
        match self.case {
            NameCase::Sensitive => self.find_exactly(key),
            NameCase::Folded => match std::str::from_utf8(key) {
                Ok(key) => self.find_exactly(key.to_lowercase().as_bytes()),
                Err(_) => Target::Ignored,
            },
        }
    }

    fn find_exactly(&self, key: &[u8]) -> Target {
        let Ok(at) = self.fields.binary_search_by(|field| (*field.key).cmp(key)) else {
            return Target::Ignored;
        };
        match (self.fields[at].columns.as_slice(), &self.fields[at].inside) {
            ([column], None) => Target::Column(*column),
            _ => Target::Field(at),
        }
    }

    /// Remember that `text`, a key with all that stands around it, came at
    /// place `next`. Only the text at place 0 opens an object: behind a value
    /// no guess may accept a brace where a comma must be.
    pub(crate) fn learn(&mut self, text: &[u8], target: Target, next: &mut usize) {
        if text.len() > KEY_MAX {
            *next = (*next).max(1);
            return;
        }
        let opens = |guess: &Guess| guess.text.starts_with(b"{");
        if text.starts_with(b"{") {
            self.guesses.retain(|guess| !opens(guess));
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
        self.guesses.insert(at, Guess::new(text, target));
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
            object.learn(text.as_bytes(), Target::Field(field), &mut next);
        }
        next = 0;
        assert_eq!(object.guess(b"\"a\": 1, \"padding\": true", &mut next), Some((Target::Field(0), 4)));
        assert_eq!(object.guess(b"\"a_key_longer_than_sixteen\":1", &mut next), Some((Target::Field(1), 28)));
        assert_eq!(object.guess(b"\"a_key_longer_than_sixtyyy\":1", &mut 1), None);
        next = 0;
        assert_eq!(object.guess(b"\"c\":1", &mut next), Some((Target::Field(2), 4)), "near the end, behind a gap");
        assert_eq!(next, 3);
    }

    #[test]
    fn ever_new_keys_do_not_grow_the_order() {
        let mut object = Object::default();
        for round in 0..1000 {
            let mut next = round % 65;
            object.learn(format!("\"key{round}\":").as_bytes(), Target::Ignored, &mut next);
            assert!(next <= GUESSES_MAX);
        }
        assert!(object.guesses.len() <= GUESSES_MAX);
    }
}
