//! Schemas from samples: what was seen in a column becomes its type.
//!
//! A parser in the role [`Inference`](crate::Inference) walks over its sample
//! and says at each place what kind of value stands there; the [`Sample`] merges:
//!
//! ```
//! use weir_plugin::infer::Sample;
//! use weir_plugin::NameCase;
//!
//! let mut sample = Sample::new(NameCase::Sensitive);
//! sample.column("amount", |seen| seen.bigint());
//! sample.column("amount", |seen| seen.double());
//! sample.column("tags", |seen| seen.list(|element| element.text()));
//! sample.column("place", |seen| seen.structure(|fields| fields.field("lat", |seen| seen.double())));
//! sample.column("note", |_| {});
//! let names: Vec<_> = sample.schema()?.fields.into_iter().map(|field| (field.name, field.data_type.name())).collect();
//! let expected = [
//!     ("amount", "float64"),
//!     ("note", "struct"), // without children: nothing is known
//!     ("place", "struct"),
//!     ("lat", "float64"),
//!     ("tags", "list"),
//!     ("item", "utf8"),
//! ];
//! assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
//! # Ok::<(), Vec<weir_plugin::Problem>>(())
//! ```
//!
//! Invariants: a type depends on the set of kinds that were seen, never on their
//! order; columns and the fields of structs are in the byte order of their names.

use std::collections::BTreeMap;

use crate::schema::SchemaBuilder;
use crate::{DataType, NameCase, Problem, Schema};

/// The column that takes what did not fit a row. No sample has it.
pub const RESCUED: &str = "_rescued_data";

/// The message field, and the key of the rescued object, with the path of the file.
pub const FILE_PATH: &str = "file_path";

/// The host accepts no schema with more fields, or deeper ones.
const FIELDS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 32;
/// The host accepts no longer name.
const NAME_BYTES_MAX: usize = 1024;

/// The name of the elements of a list.
const ELEMENT: &str = "item";

/// Kinds of values, as bits.
mod kind {
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const BIGINT: u8 = 1 << 1;
    pub(super) const DOUBLE: u8 = 1 << 2;
    pub(super) const TIMESTAMP: u8 = 1 << 3;
    pub(super) const TEXT: u8 = 1 << 4;
    pub(super) const STRUCT: u8 = 1 << 5;
    pub(super) const LIST: u8 = 1 << 6;
}

/// What all messages of a sample have shown.
#[derive(Clone, Debug)]
pub struct Sample {
    columns: SeenFields,
}

impl Sample {
    /// Nothing yet. With [`NameCase::Folded`] names that differ only in case are
    /// one column, called by the first of them in byte order; so are the fields
    /// of structs.
    #[must_use]
    pub fn new(case: NameCase) -> Self {
        Self { columns: SeenFields::new(case) }
    }

    /// Say that there is a column, and with `see` what stands in it; a null says
    /// nothing. Names that no column can have are left out, as is [`RESCUED`].
    pub fn column(&mut self, name: &str, see: impl FnOnce(&mut Seen)) {
        let is_rescued = match self.columns.case {
            NameCase::Sensitive => name == RESCUED,
            NameCase::Folded => name.to_lowercase() == RESCUED,
        };
        if !is_rescued {
            self.columns.field(name, see);
        }
    }

    /// The schema that fits everything that was seen. What is unknown, because
    /// there was nothing but nulls, is a struct without children.
    ///
    /// # Errors
    /// There are more columns, or deeper ones, than a schema may have.
    pub fn schema(&self) -> Result<Schema, Vec<Problem>> {
        let mut fields = Fields { builder: Schema::builder(), count: 0 };
        for (name, seen) in self.columns.sorted() {
            fields.push(name, seen, 0).map_err(|fault| {
                let remedy = "list the columns to read instead of having them inferred";
                vec![Problem::new("", format!("the sample has {fault} (in column '{name}'); {remedy}"))]
            })?;
        }
        Ok(fields.builder.build())
    }
}

/// What was seen at one place: in a column, a field of a struct, or as the
/// elements of a list.
#[derive(Clone, Debug)]
pub struct Seen {
    case: NameCase,
    kinds: u8,
    fields: Option<Box<SeenFields>>,
    element: Option<Box<Seen>>,
}

impl Seen {
    fn new(case: NameCase) -> Self {
        Self { case, kinds: 0, fields: None, element: None }
    }

    /// A value that is true or false.
    pub fn boolean(&mut self) {
        self.kinds |= kind::BOOLEAN;
    }

    /// A whole number of 64 bits.
    pub fn bigint(&mut self) {
        self.kinds |= kind::BIGINT;
    }

    /// Another number that is finite in 64 bits.
    pub fn double(&mut self) {
        self.kinds |= kind::DOUBLE;
    }

    /// An instant: date and time of day.
    pub fn timestamp(&mut self) {
        self.kinds |= kind::TIMESTAMP;
    }

    /// Any other value that has a text.
    pub fn text(&mut self) {
        self.kinds |= kind::TEXT;
    }

    /// A struct; `see` says what its fields are.
    pub fn structure(&mut self, see: impl FnOnce(&mut SeenFields)) {
        self.kinds |= kind::STRUCT;
        see(self.fields.get_or_insert_with(|| Box::new(SeenFields::new(self.case))));
    }

    /// A list; `see` says what its elements are, all at the same place.
    pub fn list(&mut self, see: impl FnOnce(&mut Seen)) {
        self.kinds |= kind::LIST;
        see(self.element.get_or_insert_with(|| Box::new(Seen::new(self.case))));
    }

    /// The type that fits everything that was seen.
    fn data_type(&self) -> DataType {
        const NUMBER: u8 = kind::BIGINT | kind::DOUBLE;
        match self.kinds {
            // Unknown: a struct that will have no children.
            0 | kind::STRUCT => DataType::Struct,
            kind::BOOLEAN => DataType::Boolean,
            kind::BIGINT => DataType::Int64,
            kind::DOUBLE | NUMBER => DataType::Float64,
            kind::TIMESTAMP => DataType::Timestamp,
            kind::LIST => DataType::List,
            _ => DataType::Utf8,
        }
    }
}

/// The fields that were seen in structs at one place.
#[derive(Clone, Debug)]
pub struct SeenFields {
    case: NameCase,
    /// By name; folded, each with the first of its names.
    fields: BTreeMap<String, (String, Seen)>,
}

impl SeenFields {
    fn new(case: NameCase) -> Self {
        Self { case, fields: BTreeMap::new() }
    }

    /// Say that there is a field, and with `see` what stands in it; a null says
    /// nothing. Names that no field can have are left out.
    pub fn field(&mut self, name: &str, see: impl FnOnce(&mut Seen)) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return;
        }
        match self.case {
            NameCase::Sensitive => see(self.reach(name, name)),
            NameCase::Folded => see(self.reach(&name.to_lowercase(), name)),
        }
    }

    fn reach(&mut self, key: &str, name: &str) -> &mut Seen {
        if !self.fields.contains_key(key) {
            self.fields.insert(key.to_owned(), (name.to_owned(), Seen::new(self.case)));
        }
        let (first, seen) = self.fields.get_mut(key).expect("invariant: was just inserted");
        if name < first.as_str() {
            name.clone_into(first);
        }
        seen
    }

    fn sorted(&self) -> Vec<(&str, &Seen)> {
        let mut fields: Vec<_> = self.fields.values().map(|(name, seen)| (name.as_str(), seen)).collect();
        fields.sort_by_key(|(name, _)| *name);
        fields
    }
}

/// The schema being made.
struct Fields {
    builder: SchemaBuilder,
    count: usize,
}

impl Fields {
    /// Append a field and all below it, or say what there is too much of.
    fn push(&mut self, name: &str, seen: &Seen, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("values that are nested deeper than {DEPTH_MAX} levels"));
        }
        self.count += 1;
        if self.count > FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} fields"));
        }
        let data_type = seen.data_type();
        let builder = std::mem::replace(&mut self.builder, Schema::builder());
        match (data_type, &seen.fields, &seen.element) {
            (DataType::Struct, Some(fields), _) => {
                let fields = fields.sorted();
                self.builder = builder.structure(name, u32::try_from(fields.len()).unwrap_or(u32::MAX));
                fields.into_iter().try_for_each(|(name, seen)| self.push(name, seen, depth + 1))
            }
            (DataType::List, _, Some(element)) => {
                self.builder = builder.list(name);
                self.push(ELEMENT, element, depth + 1)
            }
            _ => {
                self.builder = builder.field(name, data_type);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schema as text, like `a: struct(b: int64)`; unknown is `?`.
    fn shown(schema: &Schema) -> String {
        fn field(fields: &mut std::slice::Iter<'_, crate::Field>) -> Option<String> {
            let next = fields.next()?;
            let children: Vec<String> = (0..next.children).filter_map(|_| field(fields)).collect();
            Some(match (next.data_type, children.as_slice()) {
                (DataType::Struct, []) => format!("{}: ?", next.name),
                (_, []) => format!("{}: {}", next.name, next.data_type.name()),
                _ => format!("{}: {}({})", next.name, next.data_type.name(), children.join(", ")),
            })
        }
        let mut fields = schema.fields.iter();
        std::iter::from_fn(|| field(&mut fields)).collect::<Vec<_>>().join(", ")
    }

    /// Something to see in a column.
    type See = fn(&mut Seen);

    /// Whatever the order in which the values come, the column has this type.
    #[track_caller]
    fn check(values: &[See], expected: &str) {
        for turn in 0..values.len().max(1) {
            let mut sample = Sample::new(NameCase::Sensitive);
            sample.column("c", |_| {});
            for place in 0..values.len() {
                sample.column("c", values[(place + turn) % values.len()]);
            }
            assert_eq!(shown(&sample.schema().expect("a schema")), format!("c: {expected}"), "turn {turn}");
        }
    }

    #[test]
    fn kinds_merge_to_the_type_that_fits_them_all() {
        let scalars: [(See, &str); 5] = [
            (Seen::boolean, "boolean"),
            (Seen::bigint, "int64"),
            (Seen::double, "float64"),
            (Seen::timestamp, "timestamp"),
            (Seen::text, "utf8"),
        ];
        check(&[], "?");
        for (one, name) in scalars {
            check(&[one], name);
            for (other, other_name) in scalars {
                let expected = match (name, other_name) {
                    _ if name == other_name => name,
                    ("int64" | "float64", "int64" | "float64") => "float64",
                    _ => "utf8",
                };
                check(&[one, other, one], expected);
            }
            check(&[one, |seen| seen.list(Seen::bigint)], "utf8");
            check(&[one, |seen| seen.structure(|_| {})], "utf8");
        }
        check(&[Seen::bigint, Seen::double, Seen::boolean], "utf8");
    }

    #[test]
    fn lists_and_structs_merge_what_is_inside() {
        check(&[|seen| seen.list(|_| {})], "list(item: ?)");
        check(&[|seen| seen.list(Seen::bigint), |seen| seen.list(Seen::double)], "list(item: float64)");
        check(&[|seen| seen.list(|item| item.list(Seen::text))], "list(item: list(item: utf8))");
        check(&[|seen| seen.list(|_| {}), |seen| seen.structure(|_| {})], "utf8");
        check(&[|seen| seen.structure(|_| {})], "?");
        check(
            &[
                |seen| seen.structure(|fields| fields.field("b", Seen::bigint)),
                |seen| seen.structure(|fields| fields.field("a", |_| {})),
                |seen| seen.structure(|fields| fields.field("b", Seen::double)),
            ],
            "struct(a: ?, b: float64)",
        );
    }

    #[test]
    fn columns_come_in_byte_order_and_some_names_never() {
        let mut sample = Sample::new(NameCase::Sensitive);
        for name in ["b", "", "ä", "B", RESCUED, "a", &"x".repeat(NAME_BYTES_MAX + 1)] {
            sample.column(name, Seen::text);
        }
        assert_eq!(shown(&sample.schema().expect("a schema")), "B: utf8, a: utf8, b: utf8, ä: utf8");
    }

    #[test]
    fn folded_names_are_one_column_called_by_the_first_in_byte_order() {
        for names in [["deviceId", "DeviceID"], ["DeviceID", "deviceId"]] {
            let mut sample = Sample::new(NameCase::Folded);
            sample.column(names[0], Seen::bigint);
            sample.column("a", |seen| seen.structure(|fields| fields.field("X", Seen::text)));
            sample.column("_Rescued_Data", Seen::text);
            sample.column("A", |seen| seen.structure(|fields| fields.field("x", Seen::text)));
            sample.column(names[1], Seen::double);
            assert_eq!(shown(&sample.schema().expect("a schema")), "A: struct(X: utf8), DeviceID: float64");
        }
    }

    #[test]
    fn too_many_and_too_deep_fields_are_a_problem() {
        fn nested(seen: &mut Seen, levels: usize) {
            if levels > 0 {
                seen.list(|element| nested(element, levels - 1));
            }
        }
        let deep = |levels| {
            let mut sample = Sample::new(NameCase::Sensitive);
            sample.column("deep", |seen| nested(seen, levels));
            sample.schema()
        };
        assert!(deep(DEPTH_MAX).is_ok());
        let problems = deep(DEPTH_MAX + 1).expect_err("too deep");
        assert!(problems[0].message.contains("deeper than 32 levels (in column 'deep')"), "{}", problems[0].message);

        let mut sample = Sample::new(NameCase::Sensitive);
        for column in 0..=FIELDS_MAX {
            sample.column(&column.to_string(), Seen::text);
        }
        assert!(sample.schema().expect_err("too many")[0].message.contains("more than 10000 fields"));
    }
}
