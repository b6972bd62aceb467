//! Sizes on the command line and in `asof.toml`, as the definitions read them.

/// The bytes that `text` says.
pub(crate) fn parse(text: &str) -> Result<usize, String> {
    let bytes = asof_definition::size_bytes(text)?;
    usize::try_from(bytes).map_err(|_| format!("`{text}` is more than this machine can address"))
}
