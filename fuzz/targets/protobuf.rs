//! Messages of Protocol Buffers, as values of messages.
#![no_main]

use asof_fuzz::{PROTOBUF, begin};

libfuzzer_sys::fuzz_target!(init: begin(PROTOBUF.seeds()), |bytes: &[u8]| PROTOBUF.check(bytes));
