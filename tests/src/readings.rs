//! Readings as an oracle: what went in, so that what came out can be compared.

use std::fmt::Write as _;

/// Files of readings, each an array; the readings are numbered through, so that
/// one that is lost or doubled shows.
pub fn files(count: usize, readings_each: usize) -> Vec<(String, String)> {
    let file = |file: usize| {
        let mut text = String::from("[\n");
        for index in 0..readings_each {
            let number = file * readings_each + index;
            let comma = if index + 1 == readings_each { "" } else { "," };
            let _ = writeln!(text, "  {{\"number\": {number}, \"device\": \"d-{}\"}}{comma}", number % 7);
        }
        (format!("part-{file:04}.json"), text + "]\n")
    };
    (0..count).map(file).collect()
}
