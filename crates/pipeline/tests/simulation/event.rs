//! One simulated event, as it was made, as it is sent, and as a dead letter tells it again.

use asof_connect::parse_timestamp;
use serde_json::Value;

/// What stands where a value cannot be read.
pub(crate) const UNREADABLE: &str = "many";

/// How an event breaks the rules of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Unreadable,
    NotNull,
    Check,
    Future,
}

/// One event as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Unique over all events of a seed.
    pub(crate) serial: i64,
    pub(crate) entity: i64,
    pub(crate) amount: i64,
    pub(crate) time_us: i64,
    pub(crate) fault: Fault,
}

impl Event {
    /// What is sent as `entity`: nothing, where that is what is wrong.
    pub(crate) fn sent_entity(&self) -> Option<i64> {
        (self.fault != Fault::NotNull).then_some(self.entity)
    }

    /// What is sent as `amount`, where that can be read.
    pub(crate) fn sent_amount(&self) -> i64 {
        if self.fault == Fault::Check { -1 } else { self.amount }
    }

    pub(crate) fn price(&self) -> String {
        let cents = self.serial * 37 % 1000;
        format!("{}.{:02}", cents / 100, cents % 100)
    }

    pub(crate) fn note(&self) -> String {
        format!("n{}", self.serial)
    }

    /// The object that is sent in a text.
    pub(crate) fn line(&self) -> String {
        let Event { serial, time_us, .. } = self;
        let amount = match self.fault {
            Fault::Unreadable => format!("\"{UNREADABLE}\""),
            _ => self.sent_amount().to_string(),
        };
        let entity = self.sent_entity().map_or("null".to_owned(), |entity| entity.to_string());
        let (price, note) = (self.price(), self.note());
        format!(
            "{{\"serial\":{serial},\"entity\":{entity},\"amount\":{amount},\"price\":\"{price}\",\"note\":\"{note}\",\"ts\":{time_us}}}"
        )
    }

    /// Whether the text of a dead letter is this event: of a text its own line, of Arrow columns an object of the same values.
    pub(crate) fn is_told_by(&self, raw: &str) -> bool {
        if raw == self.line() {
            return true;
        }
        let Ok(told) = serde_json::from_str::<Value>(raw) else { return false };
        let price = if self.fault == Fault::Unreadable { UNREADABLE.to_owned() } else { self.price() };
        told["serial"].as_i64() == Some(self.serial)
            && told["entity"].as_i64() == self.sent_entity()
            && told["amount"].as_i64() == Some(self.sent_amount())
            && told["price"].as_str() == Some(&price)
            && told["note"].as_str() == Some(&self.note())
            && told["ts"].as_str().and_then(parse_timestamp) == Some(self.time_us)
    }

    /// The serial that a dead letter's text tells.
    pub(crate) fn serial_in(raw: &str) -> Option<i64> {
        serde_json::from_str::<Value>(raw).ok()?["serial"].as_i64()
    }
}
