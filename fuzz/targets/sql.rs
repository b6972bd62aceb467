//! The text of a project: refused with places that lie in it, or checked, and then planned without a panic.
#![no_main]

use std::sync::Arc;

use asof_definition::{SourceFile, check};
use asof_fuzz::{begin, engine, golden_sql};

libfuzzer_sys::fuzz_target!(init: begin(golden_sql()), |bytes: &[u8]| check_text(&String::from_utf8_lossy(bytes)));

fn check_text(text: &str) {
    let source = SourceFile { name: "project.sql".to_owned(), text: text.to_owned() };
    match check(std::slice::from_ref(&source)) {
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal says why");
            for error in errors {
                assert!(text.get(error.span.clone()).is_some(), "{error} is at {:?}, which is no place", error.span);
            }
        }
        // What was checked may still be refused when it is planned, but in words.
        Ok(project) => match engine(&Arc::new(project), None) {
            Ok(engine) => assert!(!engine.stores()),
            Err(error) => assert!(!error.to_string().is_empty()),
        },
    }
}
