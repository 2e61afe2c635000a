//! A parser of readings, as `weir generate` makes them: JSON arrays of objects.
//!
//! The same parser stands beside this one in Python, JavaScript and C, and the bundled
//! `json` parser reads the same columns; all give the same rows. A message that is no
//! JSON is rejected as a whole, a reading that does not fit alone.

use std::borrow::Cow;
use std::fmt;

use chrono::DateTime;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use weir_plugin::{Cell, Manifest, MessageParser, PerMessage, Plugin, Problem, Rejected, Rows, Schema};

const CONFIG_SCHEMA: &str = r#"{ "type": "object", "additionalProperties": false }"#;

/// A text that is copied only if it has escapes. (An `Option<Cow<str>>` always is.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default)]
struct Reading<'a> {
    device_id: Option<Text<'a>>,
    ts: Option<Text<'a>>,
    temperature: Option<f64>,
    humidity: Option<f64>,
    pressure: Option<f64>,
    battery: Option<f64>,
    lat: Option<f64>,
    lon: Option<f64>,
    status: Option<Text<'a>>,
}

/// Not derived: a struct may also be an array of its fields then, and no key may come
/// twice.
impl<'de> Deserialize<'de> for Reading<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Reading<'de>;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("a reading")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Reading<'de>, A::Error> {
        let mut reading = Reading::default();
        while let Some(Text(key)) = fields.next_key()? {
            match &*key {
                "deviceId" => reading.device_id = fields.next_value()?,
                "ts" => reading.ts = fields.next_value()?,
                "temperature" => reading.temperature = fields.next_value()?,
                "humidity" => reading.humidity = fields.next_value()?,
                "pressure" => reading.pressure = fields.next_value()?,
                "battery" => reading.battery = fields.next_value()?,
                "lat" => reading.lat = fields.next_value()?,
                "lon" => reading.lon = fields.next_value()?,
                "status" => reading.status = fields.next_value()?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(reading)
    }
}

struct Readings;

impl Plugin for Readings {
    fn manifest() -> Manifest {
        Manifest::new("readings-rust", env!("CARGO_PKG_VERSION"), "Readings of sensors in JSON.", CONFIG_SCHEMA)
    }
}

impl MessageParser for Readings {
    fn configure(_config: &str) -> Result<(Self, Schema), Vec<Problem>> {
        let schema = Schema::builder().utf8("deviceId").timestamp("event_time").float64("temperature");
        let schema = schema.float64("humidity").float64("pressure").float64("battery").float64("lat").float64("lon");
        Ok((Readings, schema.utf8("status").build()))
    }

    fn parse(&mut self, message: &[u8], rows: &mut Rows) -> Result<(), Rejected> {
        let readings = match message.trim_ascii_start().first() {
            Some(b'[') => serde_json::from_slice::<Vec<Reading<'_>>>(message),
            Some(b'{') => serde_json::from_slice(message).map(|reading| vec![reading]),
            _ => return Err("it is neither an array nor an object".into()),
        };
        match readings {
            Ok(readings) => {
                readings.iter().enumerate().for_each(|(index, reading)| push_or_reject(index, reading, rows))
            }
            // What does not fit must not spoil what does: readings are cut out first.
            Err(_) => {
                let texts: Vec<&RawValue> = match serde_json::from_slice(message) {
                    Ok(texts) => texts,
                    Err(_) => vec![serde_json::from_slice(message)?],
                };
                for (index, text) in texts.iter().enumerate() {
                    match serde_json::from_str(text.get()) {
                        Ok(reading) => push_or_reject(index, &reading, rows),
                        Err(error) => rows.reject(Some(index as u32), None, error.to_string()),
                    }
                }
            }
        }
        Ok(())
    }
}

fn str_of<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
    text.as_ref().map(|text| &*text.0)
}

fn push_or_reject(index: usize, reading: &Reading<'_>, rows: &mut Rows) {
    let at = match str_of(&reading.ts).map(DateTime::parse_from_rfc3339) {
        None => Cell::Null,
        Some(Ok(at)) => Cell::Int64(at.timestamp_micros()),
        Some(Err(_)) => return rows.reject(Some(index as u32), None, "ts: no timestamp"),
    };
    rows.push(&[
        str_of(&reading.device_id).into(),
        at,
        reading.temperature.into(),
        reading.humidity.into(),
        reading.pressure.into(),
        reading.battery.into(),
        reading.lat.into(),
        reading.lon.into(),
        str_of(&reading.status).into(),
    ]);
}

weir_plugin::export_parser!(PerMessage<Readings>);
