//! Changes of rows of a database, as values of messages.
#![no_main]

use asof_fuzz::{DEBEZIUM, begin};

libfuzzer_sys::fuzz_target!(init: begin(DEBEZIUM.seeds()), |bytes: &[u8]| DEBEZIUM.check(bytes));
