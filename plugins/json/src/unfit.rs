//! What did not fit the current row, and where it stood.
//!
//! Places are bytes of the message, so that nothing is copied before it is known
//! that a row has something to reject or to rescue. A later key of the same name
//! supersedes what an earlier one left here; that is sorted out at the end too.

use std::collections::BTreeMap;

use weir_values::rescue;

use crate::cursor::Cursor;
use crate::plan::Target;
use crate::text;

/// A key on the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// A byte before the key, with nothing but punctuation and white space between.
    pub(crate) key_at: usize,
    pub(crate) target: Target,
}

/// A value that did not fit.
#[derive(Clone, Debug)]
pub(crate) struct Unfit {
    /// The keys from the element down to the value.
    path: Vec<Step>,
    /// The column at the top level that wanted the value, if one did.
    pub(crate) column: usize,
    /// The bytes of the value.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// What was expected; none where nothing was.
    pub(crate) expected: Option<&'static str>,
}

/// What was found in a list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InList {
    pub(crate) mismatches: bool,
    pub(crate) surplus: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Unfits {
    /// Whether a mismatch at the top level is of interest at all.
    keeps_mismatches: bool,
    found: Vec<Unfit>,
    /// The keys around the current value.
    steps: Vec<Step>,
    /// The column at the top level to which the current value belongs.
    column: usize,
    /// How many columns of lists and structs, and of them of lists, are being read.
    nested: u32,
    lists: u32,
    /// The last place of each key that came more than once, within the key
    /// around it.
    repeated: BTreeMap<(Option<usize>, Target), usize>,
}

impl Unfits {
    pub(crate) fn new(keeps_mismatches: bool) -> Self {
        Self {
            keeps_mismatches,
            found: Vec::new(),
            steps: Vec::new(),
            column: 0,
            nested: 0,
            lists: 0,
            repeated: BTreeMap::new(),
        }
    }

    /// Whether there is nothing, not even a key that came twice.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.repeated.is_empty()
    }

    /// Forget everything.
    pub(crate) fn clear(&mut self) {
        self.found.clear();
        self.steps.clear();
        self.repeated.clear();
        self.nested = 0;
        self.lists = 0;
    }

    /// The value to come is for this column, unless it is inside of another one.
    #[inline]
    pub(crate) fn column(&mut self, column: usize) {
        if self.nested == 0 {
            self.column = column;
        }
    }

    /// The object behind a key is being read.
    pub(crate) fn enter(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// It is read.
    pub(crate) fn leave(&mut self) {
        self.steps.pop();
    }

    /// The struct of a column is being read, behind this key.
    pub(crate) fn enter_struct(&mut self, step: Step) {
        self.nested += 1;
        self.enter(step);
    }

    /// It is read.
    pub(crate) fn leave_struct(&mut self) {
        self.nested -= 1;
        self.leave();
    }

    /// The list of a column is being read. Returns where what is found in it begins.
    pub(crate) fn enter_list(&mut self) -> usize {
        self.nested += 1;
        self.lists += 1;
        self.found.len()
    }

    /// An element is read: what was found in it is put together, because places
    /// in a list cannot be told in an object.
    #[inline]
    pub(crate) fn end_element(&mut self, mark: usize, so_far: &mut InList) {
        if self.found.len() > mark {
            for unfit in self.found.split_off(mark).iter().filter(|unfit| self.counts(unfit)) {
                match unfit.expected {
                    Some(_) => so_far.mismatches = true,
                    None => so_far.surplus = true,
                }
            }
        }
    }

    /// It is read.
    pub(crate) fn leave_list(&mut self) {
        self.nested -= 1;
        self.lists -= 1;
    }

    /// The key came before in the same object: what it left does not count.
    #[cold]
    pub(crate) fn repeated(&mut self, step: Step) {
        let around = self.steps.last().map(|step| step.key_at);
        self.repeated.insert((around, step.target), step.key_at);
    }

    /// A value is not what its column expects.
    #[cold]
    pub(crate) fn mismatch(&mut self, step: Step, start: usize, end: usize, expected: &'static str) {
        if self.keeps_mismatches || self.lists > 0 {
            self.push(step, start, end, Some(expected));
        }
    }

    /// A value has no column, or has more inside than its column takes.
    #[cold]
    pub(crate) fn surplus(&mut self, step: Step, start: usize, end: usize) {
        self.push(step, start, end, None);
    }

    fn push(&mut self, step: Step, start: usize, end: usize, expected: Option<&'static str>) {
        let path = self.steps.iter().copied().chain([step]).collect();
        self.found.push(Unfit { path, column: self.column, start, end, expected });
    }

    /// Whether no key on the way came again later.
    fn counts(&self, unfit: &Unfit) -> bool {
        if self.repeated.is_empty() {
            return true;
        }
        let mut around = None;
        unfit.path.iter().all(|step| {
            let last = self.repeated.get(&(around, step.target));
            around = Some(step.key_at);
            last.is_none_or(|last| *last == step.key_at)
        })
    }

    /// The first value that did not fit its column.
    pub(crate) fn first_mismatch(&self) -> Option<&Unfit> {
        self.found.iter().find(|unfit| unfit.expected.is_some() && self.counts(unfit))
    }

    /// Append everything as the text of an object, each value with the keys
    /// around it and as it stands in the message; false if there is nothing.
    pub(crate) fn write(&self, bytes: &[u8], file_path: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let mut tree = Tree { nodes: vec![Node::default()], children: BTreeMap::new() };
        for unfit in self.found.iter().filter(|unfit| self.counts(unfit)) {
            tree.insert(bytes, unfit);
        }
        if tree.nodes[0].members.is_empty() {
            return false;
        }
        tree.write(bytes, 0, out);
        // The closing brace; the path is the last member.
        out.pop();
        rescue::end(file_path, out);
        true
    }
}

/// The object of the rescued before it is written.
struct Tree {
    nodes: Vec<Node>,
    /// The member of a node with this name.
    children: BTreeMap<(usize, Vec<u8>), usize>,
}

/// A member of the object, or the object itself.
#[derive(Default)]
struct Node {
    /// The bytes of the key, without its quotes.
    key: (usize, usize),
    /// The bytes of the value, unless it is an object of which parts did not fit.
    value: Option<(usize, usize)>,
    /// Its members, in the order in which they came.
    members: Vec<usize>,
}

impl Tree {
    fn insert(&mut self, bytes: &[u8], unfit: &Unfit) {
        let mut at = 0;
        for step in &unfit.path {
            let (key, name) = key(bytes, step.key_at);
            if at == 0 && name == rescue::FILE_PATH_KEY {
                // That name is taken.
                return;
            }
            at = match self.children.get(&(at, name.clone())) {
                Some(child) => *child,
                None => {
                    let child = self.nodes.len();
                    self.nodes.push(Node { key, ..Node::default() });
                    self.nodes[at].members.push(child);
                    self.children.insert((at, name), child);
                    child
                }
            };
        }
        // Of equal keys that have no column the last one counts.
        self.nodes[at].value = Some((unfit.start, unfit.end));
    }

    /// Recurses as deep as the types of the columns are.
    fn write(&self, bytes: &[u8], at: usize, out: &mut Vec<u8>) {
        if let Some((start, end)) = self.nodes[at].value {
            out.extend_from_slice(&bytes[start..end]);
            return;
        }
        out.push(b'{');
        for member in &self.nodes[at].members {
            rescue::separate(out);
            let (start, end) = self.nodes[*member].key;
            out.push(b'"');
            out.extend_from_slice(&bytes[start..end]);
            out.extend_from_slice(b"\":");
            self.write(bytes, *member, out);
        }
        out.push(b'}');
    }
}

/// The bytes of the key behind `at`, which was read before, and what it stands for.
fn key(bytes: &[u8], at: usize) -> ((usize, usize), Vec<u8>) {
    let quote = bytes[at..].iter().position(|byte| *byte == b'"').expect("invariant: a key was read here");
    let mut cursor = Cursor { bytes, at: at + quote };
    let key = cursor.string().expect("invariant: a key was read here");
    let inside = &bytes[key.start..key.end];
    let mut name = Vec::new();
    if !text::unescape(inside, &mut name) {
        // It stands for nothing, so only the same bytes are the same key.
        inside.clone_into(&mut name);
    }
    ((key.start, key.end), name)
}
