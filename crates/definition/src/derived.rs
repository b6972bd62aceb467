//! A stream made of streams: what its columns are computed from, and which events of which streams stand behind it.
//!
//! ```text
//!   purchases ──WHERE, columns──▶ large ──┐ UNION ALL
//!   refunds ──────────────────────────────┴──▶ movements        two branches: purchases through large, and refunds
//! ```
//! A derived stream has no events of its own. Each of its rows is one row of one source, at the same event time, with the
//! same arrival; it is judged where it arrives and nowhere else. Rows of a group window are another thing: they arise when
//! their windows close, and such a stream is a source itself to what reads it. So is one of scored rows, which arise when
//! their events become visible.

use std::sync::Arc;

use asof_expression::Expression;

use crate::connector::{Connector, FileOrder};
use crate::scored_rows::ScoredRows;
use crate::stream::{Column, Stream};
use crate::table::Table;
use crate::table_join::TableJoin;
use crate::windowed_input::WindowedInput;

/// What `CREATE STREAM … AS` says, or the FROM of a feature view that joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Derivation {
    /// The SELECT, or those between UNION ALL in their order.
    pub inputs: Vec<DerivedInput>,
    /// How many of the last columns SQL cannot name: the event time where it is not selected, and the key of a group window,
    /// which orders rows of equal time.
    pub hidden: usize,
    /// The feature view that alone reads it: what it joins before its WHERE. `None` for a stream that SQL can name.
    pub of_view: Option<String>,
}

/// One SELECT of a derived stream. Its expressions are over the columns of the stream that it reads, and after them those
/// that its joins bring, one join after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedInput {
    /// The stream in its FROM.
    pub stream: Arc<Stream>,
    /// In the order of the text: each may read what those before it bring. They come before WHERE.
    pub joins: Vec<TableJoin>,
    /// The group window in its FROM, with the WHERE and GROUP BY. It is the only input then, and joins nothing.
    pub window: Option<WindowedInput>,
    /// The feature services that the SELECT calls. It is the only input then, and joins nothing.
    pub scored: Option<ScoredRows>,
    /// WHERE: BOOLEAN. `None` beside a window, and where rows are scored: there it is that of [`ScoredRows::rows`].
    pub filter: Option<Expression>,
    /// WHERE as SQL.
    pub filter_text: Option<String>,
    /// One for each column of the derived stream, in their order. Beside a window they are over
    /// [`WindowedInput::row_scope`], of scored rows over [`ScoredRows::row_scope`].
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

    /// The columns that SQL can name: of a derived stream all but those that are hidden.
    pub fn named_columns(&self) -> &[Column] {
        let hidden = self.derivation().map_or(0, |derivation| derivation.hidden);
        &self.columns[..self.columns.len() - hidden]
    }

    /// Whether its event time is a column that SQL can name.
    pub(crate) fn names_time(&self) -> bool {
        self.time_column < self.named_columns().len()
    }

    /// The names of the streams in its FROM, then of the tables that they are joined with and of the feature services that
    /// score them, each once.
    pub fn reads(&self) -> Vec<String> {
        let inputs = self.derivation().into_iter().flat_map(|derivation| &derivation.inputs);
        let joined = inputs.clone().flat_map(|input| &input.joins).map(|join| join.table.versions.clone());
        let streams = each_once(inputs.map(|input| input.stream.clone()).chain(joined));
        let services =
            self.scored().into_iter().flat_map(|scored| &scored.services).map(|one| one.service.name.clone());
        streams.iter().map(|one| one.name.clone()).chain(services).collect()
    }

    /// The tables that are joined between its sources and itself, each once.
    pub fn tables(self: &Arc<Stream>) -> Vec<Arc<Table>> {
        let lineage = self.lineage();
        let inputs = lineage.iter().flat_map(|stream| stream.derivation()).flat_map(|derivation| &derivation.inputs);
        let mut once: Vec<Arc<Table>> = Vec::new();
        for join in inputs.flat_map(|input| &input.joins) {
            if once.iter().all(|known| known.name() != join.table.name()) {
                once.push(join.table.clone());
            }
        }
        once
    }

    /// The group window that its rows are made of.
    pub fn window(&self) -> Option<&WindowedInput> {
        self.derivation()?.inputs.iter().find_map(|input| input.window.as_ref())
    }

    /// What its rows are scored with.
    pub fn scored(&self) -> Option<&ScoredRows> {
        self.derivation()?.inputs.iter().find_map(|input| input.scored.as_ref())
    }

    /// Whether its rows arise in it, and did not come in: those of a group window when it closes, and scored ones.
    pub fn makes_rows(&self) -> bool {
        self.window().is_some() || self.scored().is_some()
    }

    /// The ways by which rows come to it, in the order in which UNION ALL names them: of each, the stream in which they
    /// arise. A stream that is not derived has one, from itself, and so has one that makes its rows.
    pub fn branches(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        match self.derivation() {
            Some(derivation) if !self.makes_rows() => {
                derivation.inputs.iter().flat_map(|input| input.stream.branches()).collect()
            }
            Some(_) | None => vec![self.clone()],
        }
    }

    /// The streams in which its rows arise, each once: those with events of their own, and those that make their rows.
    pub fn sources(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        each_once(self.branches())
    }

    /// The streams with events of their own that stand behind its rows, each once.
    pub fn origins(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        match self.derivation() {
            None => vec![self.clone()],
            Some(derivation) => each_once(derivation.inputs.iter().flat_map(|input| input.stream.origins())),
        }
    }

    /// The tables joined on the way from its sources whose versions may come after the events that they hold for: windows over
    /// its rows stay open for them. Those of a file in event-time order come before.
    pub fn awaited_tables(self: &Arc<Stream>) -> Vec<Arc<Table>> {
        let mut tables = self.tables();
        tables.retain(|table| match &table.versions.connector {
            Connector::File(file) => file.order != FileOrder::EventTime,
            Connector::Log(_) | Connector::Derived(_) => true,
        });
        tables
    }

    /// All whose watermarks close the windows behind its rows: the streams with events of their own, and the tables that windows
    /// on the way stay open for.
    pub fn closed_by(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        let ancestry = self.ancestry();
        let windows = ancestry.iter().filter_map(|stream| stream.window());
        let tables = windows.flat_map(|window| window.view.stream.awaited_tables());
        each_once(self.origins().into_iter().chain(tables.map(|table| table.versions.clone())))
    }

    /// Those of its sources whose events are joined with a table on some way to it.
    pub fn joining_sources(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        each_once(self.joined_from(false))
    }

    fn joined_from(self: &Arc<Stream>, is_joined: bool) -> Vec<Arc<Stream>> {
        match self.derivation() {
            Some(derivation) if !self.makes_rows() => {
                let inputs = derivation.inputs.iter();
                inputs.flat_map(|input| input.stream.joined_from(is_joined || !input.joins.is_empty())).collect()
            }
            Some(_) | None => is_joined.then(|| self.clone()).into_iter().collect(),
        }
    }

    /// Whether rows of equal time have an order that does not depend on arrival: by the PRIMARY KEY, or by the key of a
    /// group window, whatever is selected of that.
    pub fn orders_ties(&self) -> bool {
        match self.derivation().map(|derivation| &derivation.inputs[..]) {
            Some([input]) if input.window.is_none() => !self.primary_key.is_empty() || input.stream.is_of_window(),
            _ => !self.primary_key.is_empty() || self.window().is_some(),
        }
    }

    /// Whether each of its rows is one of a group window.
    fn is_of_window(&self) -> bool {
        match self.derivation().map(|derivation| &derivation.inputs[..]) {
            Some([input]) => input.window.is_some() || input.stream.is_of_window(),
            _ => false,
        }
    }

    /// The derived streams between its sources and itself, itself included where it is not a source: each once, after those
    /// that it reads.
    pub fn lineage(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        let derivation = self.derivation().filter(|_| !self.makes_rows());
        let inputs = derivation.into_iter().flat_map(|derivation| &derivation.inputs);
        let before = inputs.flat_map(|input| input.stream.lineage());
        each_once(before.chain(derivation.map(|_| self.clone())))
    }

    /// All derived streams that it is computed by, itself included, those that make rows on the way and all before them.
    pub fn ancestry(self: &Arc<Stream>) -> Vec<Arc<Stream>> {
        let inputs = self.derivation().into_iter().flat_map(|derivation| &derivation.inputs);
        let before = inputs.flat_map(|input| input.stream.ancestry());
        each_once(before.chain(self.derivation().map(|_| self.clone())))
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

/// Of streams of one name the first.
fn each_once(streams: impl IntoIterator<Item = Arc<Stream>>) -> Vec<Arc<Stream>> {
    let mut once: Vec<Arc<Stream>> = Vec::new();
    for stream in streams {
        if once.iter().all(|known| known.name != stream.name) {
            once.push(stream);
        }
    }
    once
}
