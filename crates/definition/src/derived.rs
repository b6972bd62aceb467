//! A stream made of streams: what its columns are computed from, and which events of which streams stand behind it.
//!
//! ```text
//!   purchases ──WHERE, columns──▶ large ──┐ UNION ALL
//!   refunds ──────────────────────────────┴──▶ movements        two branches: purchases through large, and refunds
//! ```
//! A derived stream has no events of its own. Each of its rows is one row of one source, at the same event time, with the
//! same arrival; it is judged where it arrives and nowhere else.

use std::sync::Arc;

use asof_expression::Expression;

use crate::connector::Connector;
use crate::stream::{Column, Stream};

/// What `CREATE STREAM … AS` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Derivation {
    /// The SELECT, or those between UNION ALL in their order.
    pub inputs: Vec<DerivedInput>,
    /// Whether the event time is not among the columns that can be named: it is the last one then.
    pub hides_time: bool,
}

/// One SELECT of a derived stream. Its expressions are over the scope of the stream that it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedInput {
    /// The stream in its FROM.
    pub stream: Arc<Stream>,
    /// WHERE: BOOLEAN.
    pub filter: Option<Expression>,
    /// WHERE as SQL.
    pub filter_text: Option<String>,
    /// One for each column of the derived stream, in their order.
    pub columns: Vec<DerivedColumn>,
}

/// What a column of a derived stream is computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedColumn {
    /// Of the column's type.
    pub expression: Expression,
    /// As SQL, for messages.
    pub text: String,
}

impl Stream {
    /// How it is derived; `None` for a stream with events of its own.
    pub fn derivation(&self) -> Option<&Derivation> {
        match &self.connector {
            Connector::Derived(derivation) => Some(derivation),
            Connector::Log(_) | Connector::File(_) => None,
        }
    }

    /// The columns that SQL can name: all but the event time of a derived stream that does not select it.
    pub fn named_columns(&self) -> &[Column] {
        match self.derivation() {
            Some(derivation) if derivation.hides_time => &self.columns[..self.columns.len() - 1],
            Some(_) | None => &self.columns,
        }
    }

    /// The names of the streams in its FROM, each once.
    pub fn reads(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for input in self.derivation().iter().flat_map(|derivation| &derivation.inputs) {
            if !names.contains(&input.stream.name) {
                names.push(input.stream.name.clone());
            }
        }
        names
    }

    /// The ways by which events come to it, in the order in which UNION ALL names them: of each, the stream with events of
    /// its own that it begins at. A stream that is not derived has one, from itself.
    pub fn branches(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        match self.derivation() {
            None => vec![self.clone()],
            Some(derivation) => derivation.inputs.iter().flat_map(|input| input.stream.branches()).collect(),
        }
    }

    /// The streams with events of their own that it sees events of, each once.
    pub fn sources(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        let mut sources: Vec<Arc<Stream>> = Vec::new();
        for branch in self.branches() {
            if sources.iter().all(|source| source.name != branch.name) {
                sources.push(branch);
            }
        }
        sources
    }

    /// The derived streams between its sources and itself, itself included: each once, after those that it reads.
    pub fn lineage(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        let mut lineage: Vec<Arc<Stream>> = Vec::new();
        let inputs = self.derivation().into_iter().flat_map(|derivation| &derivation.inputs);
        let before = inputs.flat_map(|input| input.stream.lineage());
        let own = self.derivation().map(|_| self.clone());
        for stream in before.chain(own) {
            if lineage.iter().all(|known| known.name != stream.name) {
                lineage.push(stream);
            }
        }
        lineage
    }

    /// How many derived streams stand between it and the farthest of its sources, itself included.
    pub(crate) fn depth(&self) -> usize {
        let inputs = self.derivation().into_iter().flat_map(|derivation| &derivation.inputs);
        inputs.map(|input| input.stream.depth() + 1).max().unwrap_or(0)
    }

    /// How it comes to a PRIMARY KEY, for one that has none.
    pub(crate) fn key_hint(&self) -> String {
        match self.derivation().map(|derivation| &derivation.inputs[..]) {
            None => "declare a PRIMARY KEY (NOT ENFORCED will do)".to_owned(),
            Some([input]) if input.stream.primary_key.is_empty() => input.stream.key_hint(),
            Some([input]) => {
                let columns = input.stream.primary_key.iter().map(|column| &input.stream.columns[*column].name[..]);
                let columns: Vec<&str> = columns.collect();
                format!("select the PRIMARY KEY of `{}`, unchanged: `{}`", input.stream.name, columns.join("`, `"))
            }
            Some(_) => "a UNION ALL has none: ties are in the order of its branches, then of arrival".to_owned(),
        }
    }
}
