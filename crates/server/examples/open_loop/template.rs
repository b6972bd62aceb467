//! A request with events whose times and keys are written anew each time it is sent, in whatever form the body is.
//!
//! Whoever made the body has put a marker wherever a number belongs, as wide as the number: 16 digits of microseconds and 7
//! digits of a key in text, eight bytes of each in a binary form. The markers are searched for once, and then overwritten:
//!
//! ```text
//!   {"account_id":8888888,"amount":12.5,"ts":9999999999999999}
//!   {"account_id":1048576,"amount":12.5,"ts":1767225600000000}
//! ```
//! Keys are drawn evenly from so many numbers. Event times are those of the wall clock, or go on by a step from event to event.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;

/// In binary forms these are 64-bit integers, little-endian.
const TIME_MARKER: i64 = 9_999_999_999_999_999;
const TIME_DIGITS: usize = 16;
const KEY_MARKER: i64 = 8_888_888;
const KEY_DIGITS: usize = 7;
/// Keys begin here, so that all have as many digits.
const FIRST_KEY: u64 = 1_000_000;
/// Where the sequence of keys begins: any number but 0.
const CHANCE: u64 = 0x9E37_79B9_7F4A_7C15;

/// What the events of a template are.
pub(crate) struct Events {
    pub(crate) times: Times,
    /// How many keys there are; at most 9 million, for all to have seven digits.
    pub(crate) keys: u64,
}

/// When the events happen.
#[derive(Clone, Copy)]
pub(crate) enum Times {
    /// When they are sent.
    Now,
    /// Event k at `first_us + k · step_ns / 1000`.
    Steps { first_us: u64, step_ns: u64 },
}

/// Where in a request the numbers stand.
pub(crate) struct Template {
    is_text: bool,
    times: Vec<usize>,
    keys: Vec<usize>,
    of_times: Times,
    key_count: u64,
    chance: u64,
}

impl Template {
    pub(crate) fn find(request: &[u8], events: &Events) -> Result<Template> {
        let in_text = places(request, TIME_MARKER.to_string().as_bytes());
        let is_text = !in_text.is_empty();
        let (times, keys) = match is_text {
            true => (in_text, places(request, KEY_MARKER.to_string().as_bytes())),
            false => (places(request, &TIME_MARKER.to_le_bytes()), places(request, &KEY_MARKER.to_le_bytes())),
        };
        if times.is_empty() || times.len() != keys.len() {
            return Err(format!("the body has {} markers of times and {} of keys", times.len(), keys.len()).into());
        }
        Ok(Template { is_text, times, keys, of_times: events.times, key_count: events.keys, chance: CHANCE })
    }

    /// Writes the times and keys of request number `number`.
    pub(crate) fn write(&mut self, number: u64, request: &mut [u8]) {
        let (first_us, step_ns) = match self.of_times {
            Times::Now => (now_us(), 0),
            Times::Steps { first_us, step_ns } => (first_us, step_ns),
        };
        let first = number * self.times.len() as u64;
        for (place, event) in self.times.iter().zip(first..) {
            let behind_us = u128::from(event) * u128::from(step_ns) / 1000;
            put(request, *place, first_us + behind_us as u64, self.is_text.then_some(TIME_DIGITS));
        }
        for at in 0..self.keys.len() {
            let key = FIRST_KEY + self.draw();
            put(request, self.keys[at], key, self.is_text.then_some(KEY_DIGITS));
        }
    }

    /// The next of an even sequence below `key_count` (xorshift, Marsaglia 2003): the same for each run.
    fn draw(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        ((u128::from(self.chance) * u128::from(self.key_count)) >> 64) as u64
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970").as_micros() as u64
}

/// Overwrites a number: so many digits, or eight bytes.
fn put(request: &mut [u8], place: usize, mut value: u64, digits: Option<usize>) {
    let Some(digits) = digits else {
        request[place..place + 8].copy_from_slice(&value.to_le_bytes());
        return;
    };
    for byte in request[place..place + digits].iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Where the marker stands.
fn places(bytes: &[u8], marker: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(marker.len()).position(|window| window == marker) {
        found.push(from + at);
        from += at + marker.len();
    }
    found
}
