//! Bodies of events as Arrow IPC streams.
#![no_main]

use asof_connect::BodyForm;
use asof_fuzz::{arrow_bodies, begin, check_body};

libfuzzer_sys::fuzz_target!(init: begin(arrow_bodies()), |bytes: &[u8]| check_body(bytes, BodyForm::Arrow));
