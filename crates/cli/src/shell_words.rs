//! Commands that a user can copy into a shell as they are printed.

/// `word` as a shell reads it back: as it stands where nothing in it means anything to a shell, else in quotes.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=,@%+".contains(&byte);
    // A `=` at the beginning means something to zsh.
    if !word.is_empty() && !word.starts_with('=') && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    in_quotes(word)
}

/// `word` in single quotes, within which a shell changes nothing; a quote itself stands outside of them.
pub(crate) fn in_quotes(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// This program as it was called, so that a printed command works where it is not on the path.
pub(crate) fn program() -> String {
    quoted(&std::env::args().next().unwrap_or_else(|| "asof".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_back() {
        let words =
            ["plain", "a=b", "", "=a", "two words", "it's", "''", "$HOME", "`id`", "a\nb", "\\", "*", "ä", "!x", "~"];
        let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let script = format!("printf '%s\\0' {}", quoted.join(" "));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), words);
    }

    #[test]
    fn plain_words_stay_plain() {
        assert_eq!(quoted("origin=JFK"), "origin=JFK");
        assert_eq!(quoted("a b"), "'a b'");
    }
}
