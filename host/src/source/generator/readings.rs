//! What a generated message says: a pure function of seed, partition, offset.
//!
//! Random numbers are counted, not stateful: SplitMix64 (Steele, Lea, Flood,
//! 2014) over a key of the message and the index of the reading, so that any
//! message can be had without those before it.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A reading out of order is older than its turn by at most so much.
pub const MAX_DELAY_US: i64 = 60_000_000;

/// Longer messages serve nobody.
const MAX_READINGS_PER_MESSAGE: u32 = 100_000;

const MAX_PARTITIONS: u32 = 1024;

/// About the bytes of one reading with its separator.
const READING_BYTES: u64 = 195;

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorSettings {
    /// The same seed gives the same messages.
    pub seed: u64,
    /// How many devices there are.
    pub devices: u32,
    /// How many partitions there are.
    pub partitions: u32,
    /// How many messages there are over all partitions; none: without end.
    pub events: Option<u64>,
    /// How many readings a message has.
    pub readings_per_message: u32,
    /// How many messages come to be each second; none: all are there.
    pub events_per_second: Option<f64>,
    /// The event time of the first reading, in microseconds since 1970-01-01T00:00:00Z.
    pub start_us: i64,
    /// The event time between a reading and the next, in microseconds.
    pub interval_us: i64,
    /// The ratio of readings that are older than their turn.
    pub out_of_order: f64,
    /// The ratio of messages that are malformed.
    pub malformed: f64,
}

impl Default for GeneratorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            devices: 1000,
            partitions: 1,
            events: None,
            readings_per_message: 10,
            events_per_second: None,
            // 2025-10-05T18:40:10Z
            start_us: 1_759_689_610_000_000,
            interval_us: 1_000,
            out_of_order: 0.0,
            malformed: 0.0,
        }
    }
}

/// What is wrong with a malformed message. One of its readings is spoiled, at
/// [`Message::spoiled`]; all others are as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Malformation {
    /// The message ends within the spoiled reading, which is its last.
    Truncated,
    /// The closing quote of the device is missing.
    MissingQuote,
    /// The temperature is a text.
    WrongType,
    /// The spoiled reading is null.
    NullElement,
}

/// The condition of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Most readings.
    Ok,
    /// Some.
    Warn,
    /// Few.
    Fail,
}

impl Status {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One reading; numbers are whole multiples of the last decimal written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The number of the device, from 1.
    pub device: u32,
    /// The event time in microseconds since 1970-01-01T00:00:00Z; a multiple of
    /// a millisecond.
    pub time_us: i64,
    /// In 0.01 °C.
    pub temperature: i64,
    /// In 0.01 %.
    pub humidity: i64,
    /// In 0.01 hPa.
    pub pressure: i64,
    /// In 0.0001 of full.
    pub battery: i64,
    /// In 0.0001 degrees north.
    pub lat: i64,
    /// In 0.0001 degrees east.
    pub lon: i64,
    /// The condition of the device.
    pub status: Status,
}

/// A message as values, to compare with what a pipeline made of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// All readings that the message was made of, the spoiled one included.
    pub readings: Vec<Reading>,
    /// What is wrong, and the index of the reading that it spoils.
    pub spoiled: Option<(Malformation, usize)>,
}

impl Message {
    /// The readings that are as they should be.
    pub fn intact(&self) -> impl Iterator<Item = &Reading> {
        let spoiled = self.spoiled.map(|(_, index)| index);
        self.readings.iter().enumerate().filter(move |(index, _)| Some(*index) != spoiled).map(|(_, reading)| reading)
    }
}

impl GeneratorSettings {
    /// Whether the settings can be used.
    ///
    /// # Errors
    /// Config, naming the setting that is out of its bounds.
    pub fn validate(&self) -> Result<()> {
        let whole = |name: &str, value: u32, most: u32| {
            let wrong = || Error::config(format!("`{name}` is {value}: give a number from 1 to {most}"));
            if (1..=most).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        let ratio = |name: &str, value: f64| {
            let wrong = || Error::config(format!("`{name}` is {value}: give a ratio from 0 to 1"));
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        whole("devices", self.devices, u32::MAX)?;
        whole("partitions", self.partitions, MAX_PARTITIONS)?;
        whole("readings_per_message", self.readings_per_message, MAX_READINGS_PER_MESSAGE)?;
        ratio("out_of_order", self.out_of_order)?;
        ratio("malformed", self.malformed)?;
        if self.interval_us < 0 {
            return Err(Error::config(format!("`interval_us` is {}: time does not run backwards", self.interval_us)));
        }
        match self.events_per_second {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err(Error::config(format!("`events_per_second` is {rate}: give a number above 0")))
            }
            _ => Ok(()),
        }
    }

    /// About the bytes of a message.
    pub fn message_bytes(&self) -> u64 {
        READING_BYTES * u64::from(self.readings_per_message)
    }

    /// When a message was enqueued: the event time of the turn behind its last
    /// reading, in microseconds since 1970-01-01T00:00:00Z.
    pub fn enqueued_us(&self, partition: u32, offset: u64) -> i64 {
        self.turn_us(self.sequence(partition, offset).saturating_add(1).saturating_mul(self.per_message()))
    }

    /// What a message says, as values.
    pub fn message(&self, partition: u32, offset: u64) -> Message {
        let key = self.key(partition, offset);
        let spoiled = self.spoiled(key);
        let count = match spoiled {
            Some((Malformation::Truncated, index)) => index as u64 + 1,
            _ => self.per_message(),
        };
        let first = self.sequence(partition, offset).saturating_mul(self.per_message());
        Message { readings: (0..count).map(|index| self.reading(key, first, index)).collect(), spoiled }
    }

    /// How many readings of a message are as they should be.
    pub fn intact_readings(&self, partition: u32, offset: u64) -> u64 {
        match self.spoiled(self.key(partition, offset)) {
            None => self.per_message(),
            Some((Malformation::Truncated, index)) => index as u64,
            Some(_) => self.per_message() - 1,
        }
    }

    /// Append the bytes of a message: a JSON array of readings on one line.
    pub fn write_message(&self, partition: u32, offset: u64, out: &mut Vec<u8>) {
        let key = self.key(partition, offset);
        let spoiled = self.spoiled(key);
        let first = self.sequence(partition, offset).saturating_mul(self.per_message());
        out.push(b'[');
        for index in 0..self.per_message() {
            if index > 0 {
                out.push(b',');
            }
            let malformation = spoiled.filter(|spoiled| spoiled.1 as u64 == index).map(|spoiled| spoiled.0);
            super::write::append_reading(&self.reading(key, first, index), malformation, &super::write::COMPACT, out);
            if malformation == Some(Malformation::Truncated) {
                return;
            }
        }
        out.push(b']');
    }

    fn per_message(&self) -> u64 {
        u64::from(self.readings_per_message)
    }

    /// The place of a message in the order over all partitions.
    fn sequence(&self, partition: u32, offset: u64) -> u64 {
        offset.saturating_mul(u64::from(self.partitions)).saturating_add(u64::from(partition))
    }

    fn turn_us(&self, turn: u64) -> i64 {
        let turn = i64::try_from(turn).unwrap_or(i64::MAX);
        self.start_us.saturating_add(turn.saturating_mul(self.interval_us))
    }

    fn key(&self, partition: u32, offset: u64) -> u64 {
        mix(mix(mix(self.seed) ^ u64::from(partition)) ^ offset)
    }

    fn spoiled(&self, key: u64) -> Option<(Malformation, usize)> {
        let dice = mix(key ^ 0x5bd1_e995);
        if unit(dice) >= self.malformed {
            return None;
        }
        let dice = mix(dice);
        let kind = match dice & 3 {
            0 => Malformation::Truncated,
            1 => Malformation::MissingQuote,
            2 => Malformation::WrongType,
            _ => Malformation::NullElement,
        };
        Some((kind, below(dice, self.per_message()) as usize))
    }

    fn reading(&self, key: u64, first: u64, index: u64) -> Reading {
        let one = mix(key.wrapping_add(index.wrapping_mul(GOLDEN)));
        let two = mix(one);
        let three = mix(two);
        let mut time_us = self.turn_us(first.saturating_add(index));
        if self.out_of_order > 0.0 && unit(mix(three)) < self.out_of_order {
            time_us = time_us.saturating_sub(below(three, MAX_DELAY_US as u64) as i64);
        }
        // Each value takes bits of its own.
        let bits = |word: u64, shift: u32, span: u64| ((((word >> shift) & 0xffff) * span) >> 16) as i64;
        let status = match (three >> 48) % 100 {
            0..90 => Status::Ok,
            90..98 => Status::Warn,
            _ => Status::Fail,
        };
        Reading {
            device: below(one, u64::from(self.devices)) as u32 + 1,
            time_us: time_us.div_euclid(1000).saturating_mul(1000),
            temperature: 1200 + bits(two, 0, 2600),
            humidity: 2000 + bits(two, 16, 6000),
            pressure: 98_000 + bits(two, 32, 5000),
            battery: 500 + bits(two, 48, 9500),
            lat: 492_000 + bits(three, 0, 1500),
            lon: -1_232_000 + bits(three, 16, 3000),
            status,
        }
    }
}

/// The increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(GOLDEN);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A number from 0 up to 1, exclusive.
fn unit(dice: u64) -> f64 {
    (dice >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number from 0 up to `bound`, exclusive.
fn below(dice: u64, bound: u64) -> u64 {
    // The high half of the product is below the bound.
    ((u128::from(dice) * u128::from(bound)) >> 64) as u64
}
