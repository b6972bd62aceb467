//! Bodies of events as JSON: an object or an array of them.
#![no_main]

use asof_connect::BodyForm;
use asof_fuzz::{EVENT, begin, check_body};

libfuzzer_sys::fuzz_target!(init: begin(seeds()), |bytes: &[u8]| check_body(bytes, BodyForm::Json));

fn seeds() -> [(String, Vec<u8>); 3] {
    [("one", EVENT.to_owned()), ("two", format!("[{EVENT},\r\n{{\"id\":2,\"ts\":0}}]")), ("none", " [ ] ".to_owned())]
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
}
