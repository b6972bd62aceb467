//! The repository as a house: the rules that no compiler checks.
//!
//! `rules` looks at the crates and their files, `documents` at what is written about them. A rule that stands in the way is
//! changed in ARCHITECTURE.md and here, in one commit.

mod documents;
mod files;
mod licence;
mod rules;
mod tree;
