//! Columns as people write them: `name type, …`, as in SQL.
//!
//! A name is anything without white space and without `` , . : < > ( ) ` ``; others
//! stand in backticks, in which a backtick is doubled. Between name and type there
//! is white space or a colon. Hints may name what lies inside a column, `a.b double`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

/// The name of the child of a list, as Arrow spells it.
const LIST_ITEM: &str = "item";
/// Deeper types are refused; the plugin contract has the same bound.
const MAX_DEPTH: usize = 32;

/// What somebody knows of a column, or of something inside one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The names from the column down; at least one.
    pub path: Vec<String>,
    /// Its type.
    pub data_type: DataType,
    /// Whether it may be null, which only `not null` behind the type denies.
    pub is_nullable: bool,
}

/// The columns that a text lists.
///
/// # Errors
/// What is wrong with it, and where.
pub fn columns_of(text: &str) -> Result<SchemaRef, String> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for Hint { path, data_type, .. } in hints_of(text)? {
        let [name] = path.as_slice() else {
            return Err(format!("`{}` lies inside a column: write the column as a struct<…>", path.join(".")));
        };
        if let Some(twice) = fields.iter().find(|field| is_same(field.name(), name)) {
            return Err(format!("the column `{name}` is there twice, the other is `{}`", twice.name()));
        }
        fields.push(Arc::new(Field::new(name, data_type, true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The hints that a text lists; dots go into structs.
///
/// # Errors
/// What is wrong with it, and where; `not null`, because every column of a table may
/// be null.
pub fn hints_of(text: &str) -> Result<Vec<Hint>, String> {
    let hints = declared_in(text)?;
    match hints.iter().find(|hint| !hint.is_nullable) {
        Some(hint) => Err(format!("`{}` may be null, as all columns here: leave out `not null`", hint.path.join("."))),
        None => Ok(hints),
    }
}

/// What a text says of rows that are not in a table: hints, of which some are
/// `not null`.
///
/// # Errors
/// What is wrong with it, and where.
pub fn declared_in(text: &str) -> Result<Vec<Hint>, String> {
    let mut reader = Reader { rest: text };
    let mut hints: Vec<Hint> = Vec::new();
    loop {
        reader.space();
        if reader.rest.is_empty() && !hints.is_empty() {
            return Ok(hints);
        }
        let mut path = vec![reader.name()?];
        while reader.take('.') {
            path.push(reader.name()?);
        }
        reader.take(':');
        let data_type = reader.data_type(0)?;
        let is_nullable = !reader.take_not_null()?;
        let is_twice = |hint: &Hint| {
            hint.path.len() == path.len() && hint.path.iter().zip(&path).all(|(one, other)| is_same(one, other))
        };
        if hints.iter().any(is_twice) {
            return Err(format!("`{}` is there twice", path.join(".")));
        }
        hints.push(Hint { path, data_type, is_nullable });
        if !reader.take(',') {
            break;
        }
    }
    match reader.rest.is_empty() {
        true => Ok(hints),
        false => Err(format!("expected a comma before `{}`", reader.shown())),
    }
}

/// Each column as a text that [`columns_of`] understands.
pub fn texts_of(schema: &Schema) -> Vec<String> {
    schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", name_text(field.name()), type_text(field.data_type())))
        .collect()
}

/// Whether two names are the same to a table.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

/// The timestamps of the plugin contract.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A list of this type.
pub(super) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new(LIST_ITEM, item, true)))
}

fn name_text(name: &str) -> String {
    if name.is_empty() || name.contains(ends_name) { format!("`{}`", name.replace('`', "``")) } else { name.to_owned() }
}

/// A type as [`columns_of`] understands it.
pub(super) fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::List(item) => format!("array<{}>", type_text(item.data_type())),
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| format!("{}: {}", name_text(field.name()), type_text(field.data_type()));
            format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        // Nothing else is in a schema of ours.
        _ => "string".to_owned(),
    }
}

fn ends_name(letter: char) -> bool {
    letter.is_whitespace() || ",.:<>()`".contains(letter)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The word that comes next, maybe none, and what is behind it.
    fn word(&self) -> (&'a str, &'a str) {
        self.rest.split_at(self.rest.find(ends_name).unwrap_or(self.rest.len()))
    }

    /// Whether this comes next; takes it.
    fn take(&mut self, letter: char) -> bool {
        self.space();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Whether this word comes next, in any case of letters; takes it.
    fn take_word(&mut self, word: &str) -> bool {
        self.space();
        let (next, rest) = self.word();
        let is_it = next.eq_ignore_ascii_case(word);
        if is_it {
            self.rest = rest;
        }
        is_it
    }

    fn take_not_null(&mut self) -> Result<bool, String> {
        if !self.take_word("not") {
            return Ok(false);
        }
        match self.take_word("null") {
            true => Ok(true),
            false => Err(format!("expected `null` behind `not` but {}", self.found())),
        }
    }

    fn name(&mut self) -> Result<String, String> {
        self.space();
        let Some(quoted) = self.rest.strip_prefix('`') else {
            let (name, rest) = self.word();
            if name.is_empty() {
                return Err(match self.rest {
                    "" => "expected a column, such as `temperature double`, but the text ends".to_owned(),
                    _ => format!("expected the name of a column at `{}`", self.shown()),
                });
            }
            self.rest = rest;
            return Ok(name.to_owned());
        };
        let mut name = String::new();
        let mut letters = quoted.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '`' if letters.peek().is_some_and(|(_, next)| *next == '`') => {
                    letters.next();
                    name.push('`');
                }
                '`' if name.is_empty() => return Err("a name in backticks is empty".to_owned()),
                '`' => {
                    self.rest = &quoted[at + 1..];
                    return Ok(name);
                }
                letter => name.push(letter),
            }
        }
        Err(format!("the backtick before `{}` is not closed", shortened(quoted)))
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, String> {
        self.space();
        if depth > MAX_DEPTH {
            return Err(format!("a type is nested deeper than {MAX_DEPTH} levels"));
        }
        let (word, rest) = self.word();
        let known = "string, double, bigint, boolean, timestamp, binary, array<…> and struct<…>";
        if word.is_empty() {
            return Err(format!("expected a type but {}: there are {known}", self.found()));
        }
        self.rest = rest;
        Ok(match word.to_ascii_lowercase().as_str() {
            "string" => DataType::Utf8,
            "double" | "float" | "real" => DataType::Float64,
            "bigint" | "long" | "int" | "integer" | "smallint" | "short" | "tinyint" | "byte" => DataType::Int64,
            "boolean" | "bool" => DataType::Boolean,
            "timestamp" => timestamp(),
            "binary" => DataType::Binary,
            "array" => {
                self.expect('<', word)?;
                let item = self.data_type(depth + 1)?;
                self.expect('>', word)?;
                list_of(item)
            }
            "struct" => {
                self.expect('<', word)?;
                let fields = self.fields(depth + 1)?;
                self.expect('>', word)?;
                DataType::Struct(fields)
            }
            "date" => return Err("there is no type date: use timestamp or string".to_owned()),
            "decimal" | "numeric" | "dec" => return Err(format!("there is no type {word}: use double or string")),
            _ => return Err(format!("there is no type `{word}`: there are {known}")),
        })
    }

    fn fields(&mut self, depth: usize) -> Result<Fields, String> {
        let mut fields: Vec<FieldRef> = Vec::new();
        loop {
            let name = self.name()?;
            self.take(':');
            let data_type = self.data_type(depth)?;
            if fields.iter().any(|field| is_same(field.name(), &name)) {
                return Err(format!("a struct has `{name}` twice"));
            }
            fields.push(Arc::new(Field::new(name, data_type, true)));
            if !self.take(',') {
                return Ok(fields.into());
            }
        }
    }

    fn expect(&mut self, letter: char, of: &str) -> Result<(), String> {
        if self.take(letter) {
            return Ok(());
        }
        Err(format!("expected `{letter}` of {of}<…> but {}", self.found()))
    }

    fn found(&self) -> String {
        if self.rest.is_empty() { "the text ends".to_owned() } else { format!("found `{}`", self.shown()) }
    }

    fn shown(&self) -> &str {
        shortened(self.rest)
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(30)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text again, as weir writes it, or what is wrong.
    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        match (columns_of(text), expected) {
            (Ok(schema), Ok(texts)) => assert_eq!(texts_of(&schema), texts),
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn columns_are_read_as_in_sql() {
        check("a string, b INT ,\n c\tdouble", Ok(&["a string", "b bigint", "c double"]));
        check("a: string, b:long,", Ok(&["a string", "b bigint"]));
        check("tags array<string>, m array< array<bool> >", Ok(&["tags array<string>", "m array<array<boolean>>"]));
        check(
            "l struct<lat: double, `odd ``name``` struct<x bigint>>",
            Ok(&["l struct<lat: double, `odd ``name```: struct<x: bigint>>"]),
        );
        check("größe timestamp, `a.b` binary", Ok(&["größe timestamp", "`a.b` binary"]));
        check("", Err("the text ends"));
        check("a", Err("expected a type but the text ends"));
        check("a text", Err("there is no type `text`"));
        check("a date", Err("use timestamp or string"));
        check("a decimal(3,2)", Err("use double or string"));
        check("a int b int", Err("expected a comma before `b int`"));
        check("a int not null", Err("leave out `not null`"));
        check("a int not b", Err("expected `null` behind `not` but found `b`"));
        check("a int, A double", Err("`A` is there twice"));
        check("a.b int", Err("write the column as a struct"));
        check("a array<int", Err("expected `>` of array<…> but the text ends"));
        check("a struct<>", Err("expected the name of a column at `>`"));
        check("a struct<x int, X int>", Err("a struct has `X` twice"));
        check("`a int", Err("is not closed"));
        check("`` int", Err("is empty"));
        check(&format!("a {}int", "array<".repeat(100)), Err("deeper"));
    }

    #[test]
    fn hints_go_into_structs() {
        let hints = hints_of("temperature double, location.lat double, `a.b`.c bigint").unwrap();
        let paths: Vec<String> = hints.iter().map(|hint| hint.path.join("/")).collect();
        assert_eq!(paths, ["temperature", "location/lat", "a.b/c"]);
        assert!(hints_of("a.b int, A.B int").unwrap_err().contains("twice"));
    }

    fn data_types() -> impl Strategy<Value = DataType> {
        let leaf = prop_oneof![
            Just(DataType::Utf8),
            Just(DataType::Int64),
            Just(DataType::Float64),
            Just(DataType::Boolean),
            Just(DataType::Binary),
            Just(timestamp()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let fields = prop::collection::btree_map("[a-z .`<,]{1,4}", inner.clone(), 1..3);
            let fields = fields.prop_map(|fields| {
                let field = |(name, data_type)| Arc::new(Field::new(name, data_type, true));
                DataType::Struct(fields.into_iter().map(field).collect::<Vec<FieldRef>>().into())
            });
            prop_oneof![inner.prop_map(list_of), fields]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(columns in prop::collection::btree_map("[a-z .`]{1,5}", data_types(), 1..5)) {
            let fields: Vec<FieldRef> =
                columns.into_iter().map(|(name, data_type)| Arc::new(Field::new(name, data_type, true))).collect();
            let schema = Schema::new(fields);
            prop_assert_eq!(&*columns_of(&texts_of(&schema).join(", ")).unwrap(), &schema);
        }

        #[test]
        fn any_text_is_columns_or_a_problem(text in "[ab`<>,.: ]{0,20}(array|struct|int|string)?[ab`<>,.: ]{0,20}") {
            let _either = columns_of(&text);
        }
    }
}
