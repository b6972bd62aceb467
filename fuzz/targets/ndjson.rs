//! Bodies of events as NDJSON: an object a line.
#![no_main]

use asof_connect::BodyForm;
use asof_fuzz::{EVENT, begin, check_body};

libfuzzer_sys::fuzz_target!(init: begin(seeds()), |bytes: &[u8]| check_body(bytes, BodyForm::Ndjson));

fn seeds() -> [(String, Vec<u8>); 2] {
    [
        ("one", EVENT.to_owned()),
        ("more", format!("{EVENT}\r\n\n{{\"ID\":\"2\",\"ts\":\"2024-01-31\"}}\n{{\"id\":tru}}\n")),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
}
