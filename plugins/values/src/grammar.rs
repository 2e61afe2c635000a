//! The language of `columns`: `path [as name] type`, separated by commas.
//!
//! ```text
//! columns = column { "," column }
//! column  = path [ "as" name ] type
//! path    = name { "." name }
//! name    = word | "`" any text, "``" for a backtick "`"
//! type    = word [ "(" text ")" ]
//! text    = "'" any text, "''" for a quote "'" (or the same with double quotes)
//! ```
//!
//! A word is anything without white space, quotes and `,.()`. The name of a
//! column is by default the last part of its path.

use crate::columns::{Column, Kind};
use crate::timestamp::Format;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// A name in backticks, which is never a keyword.
    Name(String),
    Text(String),
    Sign(char),
}

/// The columns that `text` lists, each understood or with what is wrong.
pub(crate) fn columns(text: &str) -> Vec<Result<Column, String>> {
    let tokens = match tokens(text) {
        Ok(tokens) => tokens,
        Err(fault) => return vec![Err(fault)],
    };
    if tokens.is_empty() {
        return Vec::new();
    }
    let parts = tokens.split(|token| *token == Token::Sign(','));
    parts
        .enumerate()
        .map(|(index, part)| column(part).map_err(|fault| format!("column {} ({}): {fault}", index + 1, shown(part))))
        .collect()
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '`' | '\'' | '"' => {
                let (inside, behind) = quoted(rest, first)?;
                tokens.push(if first == '`' { Token::Name(inside) } else { Token::Text(inside) });
                behind
            }
            ',' | '.' | '(' | ')' => {
                tokens.push(Token::Sign(first));
                &rest[1..]
            }
            space if space.is_whitespace() => rest.trim_start(),
            _ => {
                let ends = |c: char| c.is_whitespace() || ",.()`'\"".contains(c);
                let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                tokens.push(Token::Word(word.to_owned()));
                behind
            }
        };
    }
    Ok(tokens)
}

/// The text between the quote that `text` starts with and the next single one,
/// and what is behind it.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut inside = String::new();
    let mut rest = &text[1..];
    while let Some((before, behind)) = rest.split_once(quote) {
        inside.push_str(before);
        match behind.strip_prefix(quote) {
            Some(doubled) => {
                inside.push(quote);
                rest = doubled;
            }
            None => return Ok((inside, behind)),
        }
    }
    Err(format!("the quote {quote} in front of '{}' is never closed", rest.trim()))
}

fn column(tokens: &[Token]) -> Result<Column, String> {
    let (path, rest) = path(tokens)?;
    // `as string` is a column that is called "as".
    let (name, rest) = match rest {
        [Token::Word(word), Token::Word(name) | Token::Name(name), rest @ ..] if word.eq_ignore_ascii_case("as") => {
            (name.clone(), rest)
        }
        _ => (path.last().cloned().unwrap_or_default(), rest),
    };
    if name.is_empty() || path.iter().any(String::is_empty) {
        return Err("a name is empty".into());
    }
    let kind = match rest {
        [] => return Err("the type is missing, for example `string` behind it".into()),
        [Token::Word(word)] => kind(word, None)?,
        [Token::Word(word), Token::Sign('('), Token::Text(format), Token::Sign(')')] => kind(word, Some(format))?,
        _ => return Err(format!("'{}' is not a type; write `path [as name] type`", shown(rest))),
    };
    Ok(Column { path, name, kind })
}

fn path(tokens: &[Token]) -> Result<(Vec<String>, &[Token]), String> {
    let mut path = Vec::new();
    let mut rest = tokens;
    loop {
        let [Token::Word(part) | Token::Name(part), behind @ ..] = rest else {
            return Err("expected a name; write `path [as name] type`".into());
        };
        path.push(part.clone());
        match behind {
            [Token::Sign('.'), more @ ..] => rest = more,
            _ => return Ok((path, behind)),
        }
    }
}

fn kind(word: &str, format: Option<&str>) -> Result<Kind, String> {
    let kind = match word.to_ascii_lowercase().as_str() {
        "string" => Kind::String,
        "double" | "float" => Kind::Double,
        "bigint" | "long" | "int" => Kind::Bigint,
        "boolean" => Kind::Boolean,
        "binary" => Kind::Binary,
        "timestamp" => Kind::Timestamp(format.map_or(Ok(Format::Iso), Format::new)?),
        _ => {
            return Err(format!(
                "unknown type '{word}'; there are string, double, bigint, boolean, timestamp and binary"
            ));
        }
    };
    match (&kind, format) {
        (Kind::Timestamp(_), _) | (_, None) => Ok(kind),
        (_, Some(_)) => Err(format!("only timestamp takes a format, {word} does not")),
    }
}

/// Tokens as text, for messages.
fn shown(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        let (piece, tight) = match token {
            Token::Word(word) => (word.clone(), false),
            Token::Name(name) => (format!("`{name}`"), false),
            Token::Text(inside) => (format!("'{inside}'"), false),
            Token::Sign(sign) => (sign.to_string(), true),
        };
        if !tight && !text.is_empty() && !text.ends_with(['.', '(']) {
            text.push(' ');
        }
        text.push_str(&piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns as `path/parts name type`, or the fault.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = columns(text)
            .into_iter()
            .map(|column| match column {
                Ok(column) => format!("{} {} {}", column.path.join("/"), column.name, column.kind.name()),
                Err(fault) => fault,
            })
            .collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn columns_are_understood() {
        check(
            "deviceId string,\n ts AS event_time timestamp",
            &["deviceId deviceId string", "ts event_time timestamp"],
        );
        check("location.lat double, a.b.c as d LONG", &["location/lat lat double", "a/b/c d bigint"]);
        check("`odd name`.`x.y``z` as `new name` float", &["odd name/x.y`z new name double"]);
        check("seen timestamp('%d.%m.%Y, %H:%M'), n int", &["seen seen timestamp", "n n bigint"]);
        check("seen timestamp(\"epoch-ms\")", &["seen seen timestamp"]);
        check("as string, as as x boolean, `as` as y binary", &["as as string", "as x boolean", "as y binary"]);
        check("größe double, @id string, a-b int", &["größe", "@id", "a-b"]);
        check("", &[]);
    }

    #[test]
    fn faults_name_the_column() {
        check("a string, b", &["a a string", "column 2 (b): the type is missing"]);
        check("a strng", &["column 1 (a strng): unknown type 'strng'"]);
        check("a string,", &["a a string", "column 2 (): expected a name"]);
        check("a..b string", &["expected a name"]);
        check("a string not null", &["is not a type"]);
        check("a double('x')", &["only timestamp takes a format"]);
        check("a timestamp('%H')", &["does not determine an instant"]);
        check("`a string", &["is never closed"]);
        check("`` string", &["a name is empty"]);
    }
}
