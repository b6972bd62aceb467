//! What names stand for while a project is checked, and what else a name is, where it is not what it should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_expression::fold;
use asof_expression::sqlparser::ast::Ident;

use crate::refusal::Refusal;
use crate::service::FeatureService;
use crate::statement::Statement;
use crate::stream::Stream;
use crate::table::Table;
use crate::view::FeatureView;

/// What a name stands for. A refused object is known by name, so that its readers are not called wrong.
pub(crate) enum Known<T> {
    Good(Arc<T>),
    Refused,
}

pub(crate) type Registry<T> = BTreeMap<String, Known<T>>;

/// All names of a project, whatever they stand for.
pub(crate) struct Lookup<'p> {
    pub(crate) statements: Vec<&'p Statement>,
    /// Names that unreadable statements would have defined.
    pub(crate) unreadable: &'p [String],
    /// Names of derived streams whose rows have features, and of those that read such: they are known after the services.
    pub(crate) scored: &'p [String],
}

/// The streams and tables that a FROM may name, and the services that a SELECT may call.
#[derive(Clone, Copy)]
pub(crate) struct Relations<'a> {
    pub(crate) streams: &'a Registry<Stream>,
    pub(crate) tables: &'a Registry<Table>,
    pub(crate) services: &'a Registry<FeatureService>,
    pub(crate) lookup: &'a Lookup<'a>,
}

/// What stands first in a FROM.
pub(crate) enum Source {
    Stream(Arc<Stream>),
    Table(Arc<Table>),
}

impl Lookup<'_> {
    /// The object of that name and kind; a refusal that says what the name is instead.
    pub(crate) fn find<T>(&self, registry: &Registry<T>, kind: &str, name: &Ident) -> Result<Arc<T>, Refusal> {
        let folded = fold(name);
        match registry.get(&folded) {
            Some(Known::Good(object)) => return Ok(Arc::clone(object)),
            Some(Known::Refused) => return Err(Refusal::consequence(name.span)),
            None if self.unreadable.contains(&folded) => return Err(Refusal::consequence(name.span)),
            None => {}
        }
        if self.scored.contains(&folded) && kind.starts_with("stream") {
            let message = format!("`{folded}`, whose rows have FEATURES, is not supported in this FROM yet");
            return Err(Refusal::new(name.span, message).hint("derived streams and sinks read its rows"));
        }
        Err(match self.statement(&folded) {
            Some(statement) => Refusal::new(name.span, format!("`{folded}` is a {}, not a {kind}", statement.kind())),
            None => Refusal::new(name.span, format!("unknown {kind} `{folded}`"))
                .did_you_mean(&folded, registry.keys().map(String::as_str)),
        })
    }

    /// The feature view of that name, if it is the name of one.
    pub(crate) fn view(
        &self,
        views: &Registry<FeatureView>,
        name: &Ident,
    ) -> Option<Result<Arc<FeatureView>, Refusal>> {
        let statement = self.statement(&fold(name)).filter(|statement| matches!(statement, Statement::View(_)));
        statement.map(|_| self.find(views, "feature view", name))
    }

    fn statement(&self, folded: &str) -> Option<&Statement> {
        self.statements.iter().copied().find(|statement| fold(statement.name()) == folded)
    }
}

impl Relations<'_> {
    /// The first relation of a feature view.
    pub(crate) fn source(&self, name: &Ident) -> Result<Source, Refusal> {
        match self.lookup.statement(&fold(name)) {
            Some(Statement::Table(_)) => self.lookup.find(self.tables, "table", name).map(Source::Table),
            Some(_) => self.lookup.find(self.streams, "stream", name).map(Source::Stream),
            None => self.unknown(name).map(Source::Stream),
        }
    }

    /// The first relation of a derived stream.
    pub(crate) fn stream(&self, name: &Ident) -> Result<Arc<Stream>, Refusal> {
        let found = self.lookup.find(self.streams, "stream", name);
        match self.lookup.statement(&fold(name)) {
            Some(Statement::Table(_)) => found.map_err(|refusal| {
                let hint = format!("a stream joins it: LEFT JOIN {name} FOR SYSTEM_TIME AS OF t.ts AS m ON …");
                refusal.hint(hint)
            }),
            _ => found,
        }
    }

    /// A feature service that a SELECT calls.
    pub(crate) fn service(&self, name: &Ident) -> Result<Arc<FeatureService>, Refusal> {
        self.lookup.find(self.services, "feature service", name)
    }

    /// A relation that is joined.
    pub(crate) fn table(&self, name: &Ident) -> Result<Arc<Table>, Refusal> {
        match self.lookup.statement(&fold(name)) {
            Some(Statement::Stream(_) | Statement::Derived { .. }) => {
                Err(Refusal::new(name.span, format!("JOIN with stream `{}` is not supported yet", fold(name)))
                    .hint("a stream joins tables; a feature service joins what views answer"))
            }
            _ => self.lookup.find(self.tables, "table", name).map_err(|refusal| match &refusal.hint {
                None => refusal.hint("a stream joins what CREATE TABLE defines"),
                Some(_) => refusal,
            }),
        }
    }

    /// A name that nothing has: near ones are looked for among streams and tables.
    fn unknown(&self, name: &Ident) -> Result<Arc<Stream>, Refusal> {
        let kind = if self.tables.is_empty() { "stream" } else { "stream or table" };
        let known = self.streams.keys().chain(self.tables.keys()).map(String::as_str);
        self.lookup
            .find(self.streams, kind, name)
            .map_err(|refusal| if refusal.is_consequence { refusal } else { refusal.did_you_mean(&fold(name), known) })
    }
}
