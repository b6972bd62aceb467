//! Records of Avro, as values of messages.
#![no_main]

use asof_fuzz::{AVRO, begin};

libfuzzer_sys::fuzz_target!(init: begin(AVRO.seeds()), |bytes: &[u8]| AVRO.check(bytes));
