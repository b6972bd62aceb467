//! The scalar functions that the language takes from DataFusion, and those that it refuses by name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::{ScalarUDF, Volatility};

/// Functions whose value would depend on something other than the event or the request: the clock, chance, the program.
const UNREPEATABLE: &[&str] = &[
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "today",
    "localtime",
    "localtimestamp",
    "random",
    "rand",
    "uuid",
    "gen_random_uuid",
    "version",
    "input_file_name",
    "file_row_index",
];

/// Functions that speak of DataFusion's types and internals, or give types that the language does not have.
const FOREIGN: &[&str] = &[
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    "arrow_field",
    "arrow_metadata",
    "with_metadata",
    "cast_to_type",
    "try_cast_to_type",
    "get_field",
    "struct",
    "row",
    "named_struct",
    "union_extract",
    "union_tag",
    "regexp_match",
    "make_time",
    "to_time",
    "to_local_time",
    "to_char",
    "date_format",
];

/// Functions of an array, which aggregates give: those that are a number, or say whether something is in it. (`array_min` and
/// `array_max` fail on texts where there are no rows.)
const OF_ARRAYS: &[&str] = &["array_length", "cardinality", "array_sum", "array_avg", "array_has"];

/// Those of them that DataFusion gives an unsigned type, which arithmetic would turn into DECIMAL. Here they are BIGINT.
pub(crate) const UNSIGNED: &[&str] = &["array_length", "cardinality"];

/// What is known about a function name.
pub(crate) enum Lookup {
    /// A function of the language.
    Known(Arc<ScalarUDF>),
    /// Refused: its value would not be repeatable.
    Unrepeatable,
    /// No such function.
    Unknown,
}

static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    let nested = datafusion_functions_nested::all_default_nested_functions();
    let of_arrays = nested.into_iter().filter(|function| OF_ARRAYS.contains(&function.name()));
    for function in datafusion_functions::all_default_functions().into_iter().chain(of_arrays) {
        let names = function.aliases().iter().map(String::as_str).chain([function.name()]);
        // Not all of these have the other name too.
        let of_list = function.name().strip_prefix("array_").map(|rest| format!("list_{rest}"));
        for name in names.map(str::to_lowercase).chain(of_list).collect::<Vec<_>>() {
            let refused = UNREPEATABLE.contains(&name.as_str()) || FOREIGN.contains(&name.as_str());
            if !refused && function.signature().volatility == Volatility::Immutable {
                functions.insert(name, Arc::clone(&function));
            }
        }
    }
    functions
});

/// Looks a folded name up.
pub(crate) fn lookup(name: &str) -> Lookup {
    if UNREPEATABLE.contains(&name) {
        return Lookup::Unrepeatable;
    }
    match FUNCTIONS.get(name) {
        Some(function) => Lookup::Known(Arc::clone(function)),
        None => Lookup::Unknown,
    }
}

/// All names (aliases too) of scalar functions, sorted: for the reference page and for "did you mean".
pub fn function_names() -> Vec<String> {
    let mut names: Vec<String> = FUNCTIONS.keys().cloned().collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_usual_functions_and_nothing_unrepeatable() {
        let names = function_names();
        for expected in [
            "abs",
            "coalesce",
            "nullif",
            "lower",
            "date_trunc",
            "date_part",
            "regexp_replace",
            "substr",
            "greatest",
            "list_sum",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
        }
        for refused in UNREPEATABLE.iter().chain(FOREIGN) {
            assert!(!names.iter().any(|name| name == refused), "{refused}");
        }
    }
}
