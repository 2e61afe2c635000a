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

/// The same with event times, a second from one to the next from ten o'clock on,
/// some of them twenty minutes late, and with temperatures from 20 to 34.
pub fn timed_files(count: usize, readings_each: usize) -> Vec<(String, String)> {
    let file = |file: usize| {
        let readings = (file * readings_each..(file + 1) * readings_each).map(|number| {
            let late = if number % 17 == 3 { 1200 } else { 0 };
            let second = (36_000 + number).saturating_sub(late);
            let (hour, minute) = (second / 3600, second / 60 % 60);
            format!(
                "{{\"number\": {number}, \"device\": \"d-{}\", \"ts\": \"2025-10-06T{hour:02}:{minute:02}:{:02}Z\", \"temperature\": {}.5}}",
                number % 7,
                second % 60,
                20 + number * 7 % 15
            )
        });
        (format!("part-{file:04}.json"), format!("[{}]", readings.collect::<Vec<_>>().join(",\n")))
    };
    (0..count).map(file).collect()
}
