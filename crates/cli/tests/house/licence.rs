//! Licence expressions (SPDX) against the allow list.

/// The list `allow = [ … ]` of the section `[licenses]` of deny.toml.
pub(crate) fn allowed(deny: &str) -> Vec<String> {
    let parsed: toml::Table = deny.parse().expect("deny.toml is TOML");
    let list = parsed["licenses"]["allow"].as_array().expect("[licenses] allow is a list");
    list.iter().map(|name| name.as_str().expect("a licence is a text").to_owned()).collect()
}

/// Whether a choice allowed by `expression` needs allowed licences only. `A/B`, as old crates write, is `A OR B`.
pub(crate) fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let is_met = any(&mut words, allowed);
    is_met && words.is_empty()
}

/// `all OR all …`; the words are read from the end of the list.
fn any(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut is_met = all(words, allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        is_met |= all(words, allowed);
    }
    is_met
}

/// `one AND one …`
fn all(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut is_met = one(words, allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        is_met &= one(words, allowed);
    }
    is_met
}

/// A licence, one with an exception, or a group in parentheses.
fn one(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    match words.pop() {
        Some("(") => {
            let is_met = any(words, allowed);
            words.pop() == Some(")") && is_met
        }
        Some(name) if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop().unwrap_or_default();
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        Some(name) => allowed.iter().any(|licence| licence == name),
        None => false,
    }
}
