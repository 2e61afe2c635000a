//! Random documents against `serde_json`, and random damage against the books:
//! whatever comes in, nothing panics and every element is accounted for.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::{chunk, parser, rows};

const COLUMNS: &str = "a string, b double, c bigint, d boolean, e.a as ea bigint, e.b.c as ebc string, f string";

pub(super) fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-f]", 1 => "[a-z]{0,20}", 1 => any::<String>()]
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Short ones: without its feature `float_roundtrip` serde_json rounds long ones twice.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 1024.0)),
        "[ -~]{0,40}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

pub(super) fn element() -> impl Strategy<Value = Value> {
    prop_oneof![9 => vec((key(), value()), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())), 1 => value()]
}

fn document() -> impl Strategy<Value = String> {
    (vec(element(), 0..6), any::<bool>(), any::<bool>()).prop_map(|(elements, array, pretty)| {
        let text = |value: &Value| {
            let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
            text.expect("a value has a text")
        };
        if array {
            return text(&Value::from(elements));
        }
        // At the root an array would be a sequence of elements.
        elements.iter().filter(|element| !element.is_array()).map(text).collect::<Vec<_>>().join("\n")
    })
}

/// What `serde_json` makes of an element: a row as text, or none if it is rejected.
fn expected_row(element: &Value) -> Option<String> {
    let object = element.as_object()?;
    let get = |key: &str| object.get(key).filter(|value| !value.is_null());
    let string = |value: Option<&Value>| match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let inside = |value: Option<&'_ Value>| match value {
        None => Some(None),
        Some(Value::Object(object)) => Some(Some(object.clone())),
        Some(_) => None,
    };
    let bigint = |value: Option<&Value>| match value {
        None => Some("-".to_owned()),
        Some(value) => value.as_i64().map(|value| value.to_string()),
    };
    let b = match get("b") {
        None => "-".into(),
        Some(value) => format!("{:?}", value.as_number()?.as_f64()?),
    };
    let d = match get("d") {
        None => "-".into(),
        Some(value) => value.as_bool()?.to_string(),
    };
    let e = inside(get("e"))?;
    let at = |key: &str| e.as_ref().and_then(|object| object.get(key)).filter(|value| !value.is_null());
    let eb = inside(at("b"))?;
    let ebc = eb.as_ref().and_then(|object| object.get("c")).filter(|value| !value.is_null());
    Some([string(get("a")), b, bigint(get("c"))?, d, bigint(at("a"))?, string(ebc), string(get("f"))].join("|"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn documents_give_what_serde_json_gives(documents in vec(document(), 1..5)) {
        let mut expected = Vec::new();
        let mut rejected = 0;
        for document in &documents {
            let values: Vec<Value> = serde_json::Deserializer::from_str(document).into_iter()
                .collect::<Result<_, _>>().expect("valid");
            for value in values {
                let elements = match value { Value::Array(elements) => elements, other => vec![other] };
                for element in elements {
                    match expected_row(&element) {
                        // Objects keep their JSON as it is written, which the twin cannot know.
                        Some(row) => expected.push((row, nested_text(&element))),
                        None => rejected += 1,
                    }
                }
            }
        }
        let parsed = parser(COLUMNS).parse(&chunk(&documents)).expect("parsed");
        let found = rows(&parsed);
        prop_assert_eq!(parsed.rejected.len(), rejected, "{:?}", parsed.rejected);
        prop_assert_eq!(found.len(), expected.len());
        for (found, (expected, nested)) in found.iter().zip(&expected) {
            if !nested {
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn damaged_documents_neither_panic_nor_lose_elements(
        documents in vec(document(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..6),
    ) {
        let mut messages: Vec<Vec<u8>> = documents.into_iter().map(String::into_bytes).collect();
        for (place, byte, kind) in &damage {
            let message = &mut messages[0];
            if message.is_empty() {
                break;
            }
            let at = place.index(message.len());
            match kind {
                0 => message.truncate(at),
                1 => message[at] = *byte,
                2 => { message.remove(at); }
                _ => message.insert(at, b"{}[],:\"\\\n0ntf"[*byte as usize % 13]),
            }
        }
        let parsed = parser(COLUMNS).parse(&chunk(&messages)).expect("parsed");
        let found = rows(&parsed);
        // Rows and rejections of each message number its elements without a gap.
        for (index, message) in messages.iter().enumerate() {
            let input = u32::try_from(index).expect("few messages");
            let made = parsed.origins.iter().filter(|origin| **origin == input).count();
            let rejections: Vec<_> = parsed.rejected.iter().filter(|rejection| rejection.input == input).collect();
            let mut end = 0;
            for rejection in &rejections {
                let span = rejection.span.expect("a span");
                prop_assert!(span.start < span.end && span.end as usize <= message.len());
                prop_assert!(span.start + 1 >= end, "pieces overlap");
                end = span.end;
                prop_assert!((rejection.element.expect("an element") as usize) < made + rejections.len());
            }
            // What is valid as it stands is not rejected as malformed.
            let valid = serde_json::Deserializer::from_slice(message).into_iter::<Value>().all(|value| value.is_ok());
            if valid {
                let malformed = rejections.iter().any(|rejection| rejection.reason.contains("malformed"));
                prop_assert!(!malformed, "{:?}: {:?}", String::from_utf8_lossy(message), rejections);
            }
        }
        // The untouched messages are not affected by the damaged one.
        let alone = parser(COLUMNS).parse(&chunk(&messages[1..])).expect("parsed");
        prop_assert!(found.ends_with(&rows(&alone)));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(message in vec(any::<u8>(), 0..200)) {
        let parsed = parser(COLUMNS).parse(&chunk(&[message])).expect("parsed");
        rows(&parsed);
    }

    #[test]
    fn what_serde_json_refuses_is_refused(text in r#"[\[\]{}:, \n"a0-9.eE+\\untrfalse-]{0,24}"#) {
        let strict = serde_json::from_str::<Value>(&text).is_ok();
        let parsed = parser("a string").parse(&chunk(&[format!("{{\"x\":{text}}}")])).expect("parsed");
        let wrapped = serde_json::from_str::<Value>(&format!("{{\"x\":{text}}}")).is_ok();
        // A lone surrogate or a number beyond 64 bits is only a fault where the value is wanted.
        if strict {
            prop_assert_eq!(parsed.rows.rows, 1, "{}", text);
        }
        if !wrapped && !text.contains(['e', 'E', '\\']) {
            prop_assert!(!parsed.rejected.is_empty(), "{}", text);
        }
    }
}

/// Whether a text column takes an object, an array or a number.
fn nested_text(element: &Value) -> bool {
    let raw = |value: Option<&Value>| value.is_some_and(|value| !value.is_string() && !value.is_boolean());
    let ebc = element.pointer("/e/b/c");
    raw(element.get("a")) || raw(element.get("f")) || raw(ebc)
}
