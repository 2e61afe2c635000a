//! Framing as a whole: cases as data, and properties over arbitrary input.

use proptest::prelude::*;

use super::scan::{BLOCK_BYTES, masks, masks_portable};
use super::*;

/// The frames of `input` when it is pushed in blocks of these sizes, in turn.
fn frames(format: FileFormat, split_bytes: u64, input: &[u8], blocks: &[usize]) -> Vec<Frame> {
    let csv_quote = Some(b'"');
    let mut framer = Framer::new(Framing { format, csv_quote, split_bytes, block_bytes: split_bytes });
    let mut frames = Vec::new();
    let mut sizes = blocks.iter().copied().cycle();
    loop {
        let at = usize::try_from(framer.position()).unwrap();
        let end = input.len().min(at + sizes.next().unwrap().max(1));
        let kept = framer.keep_from();
        if framer.push(&input[at..end], &mut frames) == Pushed::Rewound {
            assert!(framer.position() >= kept, "a rewind needs bytes that were let go");
        } else if end == input.len() {
            break;
        }
    }
    framer.finish(&mut frames);
    frames
}

fn check(format: FileFormat, split_bytes: u64, input: &str, expected: &[&str]) {
    for blocks in [&[usize::MAX / 2][..], &[1], &[3, 64, 7]] {
        let frames = frames(format, split_bytes, input.as_bytes(), blocks);
        let got: Vec<&str> = frames.iter().map(|f| &input[f.start as usize..f.end as usize]).collect();
        assert_eq!(got, expected, "{format:?} split {split_bytes} blocks {blocks:?} of {input:?}");
    }
}

#[test]
fn lines_keep_their_line_feed() {
    for format in [FileFormat::JsonLines, FileFormat::Text] {
        check(format, 9, "a\n\nbc", &["a\n", "\n", "bc"]);
        check(format, 9, "a\r\n", &["a\r\n"]);
        check(format, 9, "", &[]);
    }
    check(FileFormat::JsonLines, 9, "\u{feff}1\n2\n", &["1\n", "2\n"]);
    check(FileFormat::Text, 9, "\u{feff}1\n", &["\u{feff}1\n"]);
    check(FileFormat::Binary, 9, "a\nb\n", &["a\nb\n"]);
    check(FileFormat::Binary, 9, "", &[]);
}

#[test]
fn blocks_of_csv_are_whole_records() {
    let cases: &[(u64, &str, &[&str])] = &[
        (8, "", &[]),
        (8, "a,b\n1,2\n3,4", &["a,b\n1,2\n", "3,4"]),
        (9, "a,b\n1,2\n3,4", &["a,b\n1,2\n", "3,4"]),
        (11, "a,b\n1,2\n3,4", &["a,b\n1,2\n3,4"]),
        (1, "a\r\n\r\nb\r\n", &["a\r\n", "\r\n", "b\r\n"]),
        (4, "1\n2345678\n9\n", &["1\n", "2345678\n", "9\n"]),
        (1, "\"a\nb\",c\nd\n", &["\"a\nb\",c\n", "d\n"]),
        (1, "x,\"a\"\"\n\"\"b\"\ny", &["x,\"a\"\"\n\"\"b\"\n", "y"]),
        (1, "x;\"\"\ny\n", &["x;\"\"\n", "y\n"]),
        (1, "5\" pipe\n6\" pipe\n", &["5\" pipe\n", "6\" pipe\n"]),
        (1, "é\"\nsay \"no\n", &["é\"\n", "say \"no\n"]),
        (1, "\"open\nto the end\n", &["\"open\nto the end\n"]),
        (1, "\u{feff}a\nb", &["\u{feff}a\n", "b"]),
    ];
    for (block_bytes, input, expected) in cases {
        check(FileFormat::Csv, *block_bytes, input, expected);
    }
}

/// Text that looks like CSV now and then.
fn csvish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec!["\"", "\"\"", ",", ";", "\n", "\r\n", " ", "1", "x", "é"]).prop_map(str::to_owned),
        2 => "[a-z0-9, ]{1,70}",
        2 => "\"[a-z,\n]{0,40}\",[a-z]{1,9}\r?\n",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Records of values, written as RFC 4180 says.
fn written(records: &[Vec<String>]) -> Vec<String> {
    let field = |value: &String| match value.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value.clone(),
    };
    records.iter().map(|record| record.iter().map(field).collect::<Vec<_>>().join(",") + "\r\n").collect()
}

#[test]
fn root_values_are_messages() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        (" \n", &[]),
        ("\u{feff}", &[]),
        ("\u{feff}[1]", &["[1]"]),
        ("[1,2]", &["[1,2]"]),
        ("[1]\n[2]\n", &["[1]", "\n[2]"]),
        ("{\"a\":{}}{\"b\":[]} 3 \"x y\"null", &["{\"a\":{}}", "{\"b\":[]}", " 3", " \"x y\"", "null"]),
        (r#"["]",{"a":"\"}]"}] [2]"#, &[r#"["]",{"a":"\"}]"}]"#, " [2]"]),
        (r#"["\\"] [2]"#, &[r#"["\\"]"#, " [2]"]),
        ("[1},2] 3", &["[1},2]", " 3"]),
        ("{\"a\":1},\n{\"b\":2}", &["{\"a\":1}", ",", "\n{\"b\":2}"]),
        ("[1,\n2", &["[1,\n2"]),
        ("]]", &["]]"]),
    ];
    for (input, expected) in cases {
        check(FileFormat::Json, 1000, input, expected);
    }
}

#[test]
fn a_record_cut_short_spoils_only_itself() {
    let cases: &[(&str, &[&str])] = &[
        ("[{\"a\":\"x\n[{\"a\":1}]\n[2]", &["[{\"a\":\"x\n", "[{\"a\":1}]", "\n[2]"]),
        ("[{\"a:1}]\n[2]\n[3]", &["[{\"a:1}]\n", "[2]", "\n[3]"]),
        ("[{\"a\":1}\n[2]", &["[{\"a\":1}\n", "[2]"]),
        ("[\n[1],\n[2]\n]", &["[\n[1],\n[2]\n]"]),
        ("[{\n\"a:1,\n\"b\":2}]\n[3]", &["[{\n\"a:1,\n\"b\":2}]", "\n[3]"]),
    ];
    for (input, expected) in cases {
        check(FileFormat::Json, 1000, input, expected);
    }
}

#[test]
fn a_long_root_array_is_split_into_elements() {
    let cases: &[(&str, &[&str])] = &[
        ("[{\"a\":1}, {\"b\":[1,2]},\n 3 ,null]", &["{\"a\":1}", "{\"b\":[1,2]}", "3", "null"]),
        ("[12345678, 9] [1] {}", &["12345678", "9", " [1]", " {}"]),
        ("[{\"a\":\"],\"}x, \"y,\"]", &["{\"a\":\"],\"}x", "\"y,\""]),
        ("[1,,2,34567}]", &["1", "2", "34567}"]),
        ("[12345678,[1,\n2", &["12345678", "[1,\n2"]),
        ("[{\"a\":1},\"ab", &["{\"a\":1}", "\"ab"]),
        ("[{\"a\":12345}\n[1]", &["{\"a\":12345}", "[1]"]),
        ("{\"a\":12345678}", &["{\"a\":12345678}"]),
        ("[1,2,34]", &["[1,2,34]"]),
    ];
    for (input, expected) in cases {
        check(FileFormat::Json, 8, input, expected);
    }
}

/// Text that looks like JSON now and then.
fn jsonish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["[", "]", "{", "}", "\"", "\\", ",", ":", "\n", " ", "1", "x"]).prop_map(str::to_owned),
        2 => "[a-z ]{1,90}",
        2 => "\\[\\{\"[a-z]{1,9}\":\"[a-z\\\\\"]{0,70}\"\\},[ \n]\\{\\}\\]\n",
        2 => "\\{\"[a-z]{1,9}\":[ \n]\\{\"k\": \\[[1-9]{1,60},\\[\\[\\[[a-z]{64}\\]\\]\\]\\]\\}\\}",
        1 => Just("\u{feff}".to_owned()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_blocks(
        input in jsonish(),
        blocks in prop::collection::vec(1usize..200, 1..5),
        split in 1u64..300,
        format in prop::sample::select(vec![FileFormat::Json, FileFormat::JsonLines, FileFormat::Csv, FileFormat::Text, FileFormat::Binary]),
    ) {
        let whole = frames(format, split, &input, &[input.len().max(1)]);
        // Blocks of one byte never take the fast path.
        prop_assert_eq!(&whole, &frames(format, split, &input, &[1]));
        prop_assert_eq!(&whole, &frames(format, split, &input, &blocks));
    }

    #[test]
    fn csv_frames_do_not_depend_on_blocks_and_leave_nothing_out(
        input in csvish(),
        blocks in prop::collection::vec(1usize..200, 1..5),
        block_bytes in 1u64..300,
    ) {
        let whole = frames(FileFormat::Csv, block_bytes, &input, &[input.len().max(1)]);
        prop_assert_eq!(&whole, &frames(FileFormat::Csv, block_bytes, &input, &[1]));
        prop_assert_eq!(&whole, &frames(FileFormat::Csv, block_bytes, &input, &blocks));
        let mut at = 0;
        for frame in whole {
            prop_assert_eq!(frame.start, at);
            at = frame.end;
        }
        prop_assert_eq!(at, input.len() as u64);
    }

    #[test]
    fn csv_that_is_written_by_the_book_is_cut_between_records(
        records in prop::collection::vec(prop::collection::vec("[a-z\",\n 0-9]{0,12}", 1..5), 0..30),
        blocks in prop::collection::vec(1usize..50, 1..5),
        block_bytes in 1u64..200,
    ) {
        let records = written(&records);
        let input = records.concat();
        let mut ends = vec![0];
        ends.extend(records.iter().scan(0, |at, record| { *at += record.len() as u64; Some(*at) }));
        for frame in frames(FileFormat::Csv, block_bytes, input.as_bytes(), &blocks) {
            prop_assert!(ends.contains(&frame.start) && ends.contains(&frame.end), "{:?} of {:?}", frame, records);
            let is_single = ends.iter().filter(|end| **end > frame.start && **end <= frame.end).count() == 1;
            prop_assert!(is_single || frame.end - frame.start <= block_bytes);
        }
    }

    #[test]
    fn any_bytes_are_framed_within_the_file(
        input in prop::collection::vec(any::<u8>(), 0..2000),
        blocks in prop::collection::vec(1usize..200, 1..5),
        split in 1u64..300,
        format in prop::sample::select(vec![FileFormat::Json, FileFormat::JsonLines, FileFormat::Csv, FileFormat::Text, FileFormat::Binary]),
    ) {
        let mut at = 0;
        let framed = frames(format, split, &input, &blocks);
        prop_assert_eq!(&framed, &frames(format, split, &input, &[1]));
        for frame in framed {
            prop_assert!(frame.start >= at && frame.end > frame.start && frame.end <= input.len() as u64, "{:?}", frame);
            at = frame.end;
        }
    }

    #[test]
    fn nothing_but_separators_lies_between_frames(input in jsonish(), split in 1u64..300) {
        let mut at = 0;
        for frame in frames(FileFormat::Json, split, &input, &[77]) {
            prop_assert!(frame.start >= at && frame.end > frame.start);
            let gap = &input[usize::try_from(at).unwrap()..usize::try_from(frame.start).unwrap()];
            prop_assert!(gap.iter().all(|byte| b" \t\r\n,[]\xEF\xBB\xBF".contains(byte)), "{:?}", gap);
            at = frame.end;
        }
    }

    #[test]
    fn masks_agree_with_their_definition(bytes in prop::collection::vec(any::<u8>(), BLOCK_BYTES)) {
        let block: &[u8; BLOCK_BYTES] = bytes.as_slice().try_into().unwrap();
        prop_assert_eq!(masks(block), masks_portable(block));
    }
}
