//! How far a sink is written, as the cluster keeps it: text beside an offset, in the transaction of the rows.
//!
//! ```text
//!   {"asof":1,"logs":{"payments":1042}}
//!   {"asof":1,"logs":{"payments":1042},"entries":{"view":"9f2c…","as_of_us":1767225600000000}}      of a feature view
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The version of the text.
const VERSION: u64 = 1;

/// How far a sink is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to which offset each log is, by the log's name.
    pub logs: BTreeMap<String, u64>,
    /// Of a sink of a feature view as of when its entries are.
    pub entries: Option<EntriesAsOf>,
}

/// As of when the entries of a sink are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntriesAsOf {
    /// The fingerprint of the view: entries of another definition have other values.
    pub view: u64,
    /// What changed up to this instant, in microseconds, is written.
    pub as_of_us: i64,
}

impl Progress {
    pub(crate) fn text(&self) -> String {
        let mut text = json!({"asof": VERSION, "logs": self.logs});
        if let Some(EntriesAsOf { view, as_of_us }) = self.entries {
            text["entries"] = json!({"view": format!("{view:016x}"), "as_of_us": as_of_us});
        }
        text.to_string()
    }

    /// `None` where the text is not one of ours.
    pub(crate) fn read(text: &str) -> Option<Progress> {
        let json: Value = serde_json::from_str(text).ok()?;
        if json["asof"] != json!(VERSION) {
            return None;
        }
        let logs = json["logs"].as_object()?.iter().map(|(log, offset)| Some((log.clone(), offset.as_u64()?)));
        let entries = match &json["entries"] {
            Value::Null => None,
            entries => Some(EntriesAsOf {
                view: u64::from_str_radix(entries["view"].as_str()?, 16).ok()?,
                as_of_us: entries["as_of_us"].as_i64()?,
            }),
        };
        Some(Progress { logs: logs.collect::<Option<_>>()?, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back() {
        let logs: BTreeMap<String, u64> = [("payments".to_owned(), 7), ("rows \"x\"".to_owned(), u64::MAX)].into();
        for entries in [None, Some(EntriesAsOf { view: u64::MAX, as_of_us: -1 })] {
            let progress = Progress { logs: logs.clone(), entries };
            assert_eq!(Progress::read(&progress.text()), Some(progress));
        }
        let wrong = [
            "",
            "{}",
            "{\"asof\":2,\"logs\":{}}",
            "{\"asof\":1,\"logs\":{\"a\":-1}}",
            "{\"asof\":1,\"logs\":{},\"entries\":{\"view\":\"x\",\"as_of_us\":1}}",
            "{\"asof\":1,\"logs\":{},\"entries\":{\"view\":\"1\"}}",
        ];
        assert!(wrong.iter().all(|text| Progress::read(text).is_none()));
    }

    /// What releases before sinks of feature views have written.
    #[test]
    fn regression_progress_without_entries_is_read() {
        let told = Progress::read("{\"asof\":1,\"logs\":{\"payments\":42}}").unwrap();
        assert_eq!((told.logs["payments"], told.entries), (42, None));
    }
}
