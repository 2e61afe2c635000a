//! The generator as a source: planning, pacing, reading.

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::*;
use crate::ErrorKind;
use crate::env::ManualClock;
use crate::model::Epoch;

const BOUNDS: EpochBounds = EpochBounds { max_files: 1, max_bytes: u64::MAX, max_events: u64::MAX };
const CHUNKS: ChunkBounds = ChunkBounds { chunk_bytes: 5000, max_message_bytes: 100_000 };

fn source(settings: GeneratorSettings, clock: &Arc<ManualClock>) -> GeneratorSource {
    let env = Env { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Env::system() };
    GeneratorSource::new(settings, &env, CHUNKS).unwrap()
}

fn standing() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(0))
}

fn text(settings: &GeneratorSettings, offset: u64) -> String {
    let mut bytes = Vec::new();
    settings.write_message(0, offset, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// The end of each partition in a range.
fn ends(range: Option<SourceRange>) -> Vec<u64> {
    let Some(SourceRange::Offsets(offsets)) = range else { return Vec::new() };
    offsets.values().map(|range| range.end.0).collect()
}

#[test]
fn golden_message_stays_the_same_everywhere() {
    let settings = GeneratorSettings { readings_per_message: 1, ..GeneratorSettings::default() };
    assert_eq!(text(&settings, 0), GOLDEN_MESSAGE);
}

const GOLDEN_MESSAGE: &str = concat!(
    r#"[{"deviceId": "sensor-0885", "ts": "2025-10-05T18:40:10.000Z", "temperature": 32.40, "humidity": 78.29, "#,
    r#""pressure": 991.93, "battery": 0.2449, "lat": 49.2225, "lon": -122.9731, "status": "OK"}]"#,
);

#[test]
fn messages_say_what_their_values_are() {
    let settings =
        GeneratorSettings { partitions: 3, out_of_order: 0.2, start_us: -7_000_000, ..GeneratorSettings::default() };
    let (mut bytes, mut late) = (0, 0);
    for offset in 0..200 {
        let message = settings.message(1, offset);
        let mut out = Vec::new();
        settings.write_message(1, offset, &mut out);
        bytes += out.len();
        let parsed: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&out).unwrap();
        assert_eq!(parsed.len(), message.readings.len());
        for ((object, reading), index) in parsed.iter().zip(&message.readings).zip(0..) {
            assert_eq!(object.len(), 9);
            let ts = chrono::DateTime::parse_from_rfc3339(object["ts"].as_str().unwrap()).unwrap();
            assert_eq!(ts.timestamp_micros(), reading.time_us);
            assert_eq!(object["deviceId"], format!("sensor-{:04}", reading.device));
            assert!((1..=1000).contains(&reading.device));
            let near = |name: &str, units: i64, one: f64| {
                assert!((object[name].as_f64().unwrap() - units as f64 / one).abs() < 1e-9, "{name} of {object:?}");
            };
            near("temperature", reading.temperature, 1e2);
            near("humidity", reading.humidity, 1e2);
            near("pressure", reading.pressure, 1e2);
            near("battery", reading.battery, 1e4);
            near("lat", reading.lat, 1e4);
            near("lon", reading.lon, 1e4);
            assert_eq!(object["status"], reading.status.as_str());
            let turn_us = -7_000_000 + ((offset as i64 * 3 + 1) * 10 + index) * 1000;
            assert!(reading.time_us <= turn_us && reading.time_us >= turn_us - MAX_DELAY_US - 1000);
            late += u32::from(reading.time_us < turn_us);
        }
    }
    assert!((185..205).contains(&(bytes / 2000)), "{}", bytes / 2000);
    assert!((300..500).contains(&late), "{late}");
}

#[test]
fn malformed_messages_spoil_one_reading() {
    let settings = GeneratorSettings { malformed: 0.5, ..GeneratorSettings::default() };
    let mut kinds = [0; 5];
    for offset in 0..400 {
        let message = settings.message(0, offset);
        assert_eq!(message.intact().count() as u64, settings.intact_readings(0, offset));
        let parsed: serde_json::Result<Vec<serde_json::Value>> = serde_json::from_str(&text(&settings, offset));
        let kind = match message.spoiled {
            None => {
                assert_eq!(parsed.unwrap().len(), 10);
                4
            }
            Some((Malformation::Truncated, index)) => {
                assert!(parsed.is_err() && message.readings.len() == index + 1);
                0
            }
            Some((Malformation::MissingQuote, _)) => {
                assert!(parsed.is_err());
                1
            }
            Some((Malformation::WrongType, index)) => {
                assert!(parsed.unwrap()[index]["temperature"].is_string());
                2
            }
            Some((Malformation::NullElement, index)) => {
                assert!(parsed.unwrap()[index].is_null());
                3
            }
        };
        kinds[kind] += 1;
    }
    assert!(kinds[..4].iter().all(|count| (25..80).contains(count)), "{kinds:?}");
}

#[test]
fn files_of_readings_parse() {
    let settings = GeneratorSettings::default();
    for (form, lines) in
        [(ReadingsForm::JsonLines, 7), (ReadingsForm::CompactArray, 1), (ReadingsForm::PrettyArray, 772)]
    {
        let mut out = Vec::new();
        write_readings(&settings, 0, 3..10, form, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), lines, "{form:?}");
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Vec<serde_json::Value>>();
        assert_eq!(values.map(|value| value.unwrap().len()).sum::<usize>(), 70);
    }
}

#[tokio::test]
async fn reading_again_gives_the_same() {
    let settings =
        GeneratorSettings { partitions: 2, events: Some(101), malformed: 0.1, ..GeneratorSettings::default() };
    let mut source = source(settings.clone(), &standing());
    source.seal().await.unwrap();
    let range = source.plan(BOUNDS).await.unwrap().unwrap();
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    let names: Vec<String> = source.message_fields().fields().iter().map(|field| field.name().clone()).collect();
    source.select_fields(&names).unwrap();
    let mut payloads = Vec::new();
    for _ in 0..2 {
        let (out, mut inbox) = ChunkSender::bounded(1000);
        source.read(&range, out).await.unwrap();
        let (mut payload, mut messages) = (Vec::new(), 0);
        while let Some(chunk) = inbox.recv().await {
            assert!(chunk.payload.len() <= CHUNKS.chunk_bytes || chunk.messages() == 1);
            assert_eq!(chunk.fields.schema(), source.message_fields());
            let (partition, offset) = chunk.place_of(chunk.messages() - 1);
            let row = chunk.messages() - 1;
            assert_eq!(chunk.fields.column(0).as_string::<i32>().value(row), partition);
            assert_eq!(chunk.fields.column(1).as_primitive::<Int64Type>().value(row) as u64, offset);
            let enqueued_us = chunk.fields.column(2).as_primitive::<TimestampMicrosecondType>().value(row);
            assert_eq!(enqueued_us, settings.enqueued_us(partition.parse().unwrap(), offset));
            messages += chunk.messages();
            payload.extend_from_slice(&chunk.payload);
        }
        assert_eq!(messages, 101);
        payloads.push(payload);
    }
    assert_eq!(payloads[0], payloads[1]);
}

#[tokio::test]
async fn bounds_split_and_restore_resumes() {
    let settings = GeneratorSettings { partitions: 2, events: Some(11), ..GeneratorSettings::default() };
    let mut first = source(settings.clone(), &standing());
    let four = EpochBounds { max_events: 4, ..BOUNDS };
    let range = first.plan(four).await.unwrap().unwrap();
    assert_eq!(ends(Some(range.clone())), [2, 2]);
    let mut second = source(settings, &standing());
    second.restore(&[], &[EpochRange { epoch: Epoch::FIRST, clock_us: 0, range }]).unwrap();
    let bytes = EpochBounds { max_bytes: second.settings.message_bytes() * 3, ..BOUNDS };
    assert_eq!(ends(second.plan(bytes).await.unwrap()), [4, 3]);
    assert_eq!(ends(second.plan(BOUNDS).await.unwrap()), [6, 5]);
    assert_eq!(second.plan(BOUNDS).await.unwrap(), None);
    let foreign =
        SourceRange::Offsets([(PartitionId("2".to_owned()), OffsetRange { start: Offset(0), end: Offset(1) })].into());
    for range in [foreign, SourceRange::Files(Vec::new())] {
        assert_eq!(
            second.restore(&[], &[EpochRange { epoch: Epoch::FIRST, clock_us: 0, range }]).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }
}

#[tokio::test]
async fn a_rate_lets_messages_come_with_the_clock() {
    let clock = standing();
    let settings = GeneratorSettings { partitions: 2, events_per_second: Some(10.0), ..GeneratorSettings::default() };
    let mut source = source(settings, &clock);
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    clock.set(500_000);
    let range = source.plan(BOUNDS).await.unwrap().unwrap();
    assert_eq!(ends(Some(range.clone())), [3, 2]);
    clock.set(100_000);
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    source.restore(&[], &[EpochRange { epoch: Epoch::FIRST, clock_us: 0, range }]).unwrap();
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
    clock.set(300_000);
    assert_eq!(ends(source.plan(BOUNDS).await.unwrap()), [4, 3]);
    clock.set(400_000);
    source.seal().await.unwrap();
    clock.set(9_000_000);
    assert_eq!(ends(source.plan(BOUNDS).await.unwrap()), [4, 4]);
    assert_eq!(source.plan(BOUNDS).await.unwrap(), None);
}

#[tokio::test]
async fn settings_without_sense_are_refused() {
    let fine = GeneratorSettings::default();
    for (settings, says) in [
        (GeneratorSettings { devices: 0, ..fine.clone() }, "`devices` is 0"),
        (GeneratorSettings { partitions: 5000, ..fine.clone() }, "`partitions` is 5000"),
        (GeneratorSettings { readings_per_message: 0, ..fine.clone() }, "`readings_per_message` is 0"),
        (GeneratorSettings { malformed: f64::NAN, ..fine.clone() }, "`malformed` is NaN"),
        (GeneratorSettings { out_of_order: 1.5, ..fine.clone() }, "`out_of_order` is 1.5"),
        (GeneratorSettings { events_per_second: Some(0.0), ..fine.clone() }, "`events_per_second` is 0"),
        (GeneratorSettings { interval_us: -1, ..fine.clone() }, "`interval_us` is -1"),
    ] {
        let error = settings.validate().unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(says), "{error}");
    }
    let error = source(fine, &standing()).seal().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("set `events`"), "{error}");
}
