//! From files to a project: read all statements, then check them by layer: streams and tables, streams derived from them,
//! views, services, and streams whose rows have features of these.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use asof_expression::fold;
use asof_expression::sqlparser::tokenizer::Span;
use asof_window::GroupWindow;

use crate::connector::Connector;
use crate::derived_builder::relations;
use crate::error::DefinitionError;
use crate::project::Project;
use crate::refusal::Refusal;
use crate::registry::{Known, Lookup, Registry, Relations};
use crate::service::FeatureService;
use crate::sink::Sink;
use crate::source::{Places, SourceFile};
use crate::statement::{QuerySyntax, Statement, split};
use crate::stream::Stream;
use crate::table::Table;
use crate::view::FeatureView;
use crate::windowed_input::WindowedInput;

/// Parses and checks all files together; objects may be defined in any order. Collects as many errors as it can.
///
/// What is right and cannot be evaluated yet is refused by name, after everything else is found right.
pub fn check(files: &[SourceFile]) -> Result<Project, Vec<DefinitionError>> {
    check_files(files, |checker, placed, project| checker.refuse_what_is_not_built(placed, project))
}

/// As [`check`], and accepts what cannot be evaluated yet: for the tests of what is being built.
#[doc(hidden)]
pub fn check_ahead(files: &[SourceFile]) -> Result<Project, Vec<DefinitionError>> {
    check_files(files, |_, _, _| ())
}

fn check_files(
    files: &[SourceFile],
    refuse_more: impl Fn(&mut Checker<'_>, &[Placed], &Project),
) -> Result<Project, Vec<DefinitionError>> {
    let mut checker = Checker::new(files);
    let statements = checker.read();
    let project = checker.check(&statements);
    if checker.errors.is_empty() {
        refuse_more(&mut checker, &statements, &project);
    }
    if checker.errors.is_empty() {
        return Ok(Project { warnings: checker.warnings, ..project });
    }
    let mut errors = std::mem::take(&mut checker.errors);
    errors.sort_by_key(|error| (checker.file_order(&error.file), error.span.start));
    Err(errors)
}

/// A statement and the file it stands in.
struct Placed {
    file: usize,
    statement: Statement,
}

struct Checker<'a> {
    files: &'a [SourceFile],
    places: Vec<Places<'a>>,
    errors: Vec<DefinitionError>,
    warnings: Vec<DefinitionError>,
    /// Names that unreadable statements would have defined.
    unreadable: Vec<String>,
}

impl<'a> Checker<'a> {
    fn new(files: &'a [SourceFile]) -> Checker<'a> {
        let places = files.iter().map(|file| Places::new(&file.text)).collect();
        Checker { files, places, errors: Vec::new(), warnings: Vec::new(), unreadable: Vec::new() }
    }

    fn file_order(&self, name: &str) -> usize {
        self.files.iter().position(|file| file.name == name).unwrap_or(usize::MAX)
    }

    fn place(&self, file: usize, refusal: Refusal) -> DefinitionError {
        DefinitionError::place(refusal, &self.files[file], &self.places[file])
    }

    fn refuse(&mut self, file: usize, refusals: impl IntoIterator<Item = Refusal>) {
        for refusal in refusals {
            let error = self.place(file, refusal);
            self.errors.push(error);
        }
    }

    fn read(&mut self) -> Vec<Placed> {
        let mut placed = Vec::new();
        let mut found = 0;
        for file in 0..self.files.len() {
            match split(&self.files[file].text) {
                Err(refusal) => self.refuse(file, [refusal]),
                Ok(statements) => {
                    found += statements.len();
                    for tokens in statements {
                        let name = tokens.defined_name();
                        match Statement::parse(tokens) {
                            Ok(statement) => placed.push(Placed { file, statement }),
                            Err(refusal) => {
                                self.unreadable.extend(name);
                                self.refuse(file, [refusal]);
                            }
                        }
                    }
                }
            }
        }
        if found == 0 && self.errors.is_empty() {
            self.errors.push(self.empty_project());
        }
        self.refuse_repeated_names(&mut placed);
        placed
    }

    fn empty_project(&self) -> DefinitionError {
        let message = "the project defines nothing".to_owned();
        let hint = Some("start with CREATE STREAM in a file that ends in .sql".to_owned());
        let file = self.files.first().map_or_else(|| "(no file)".to_owned(), |file| file.name.clone());
        DefinitionError { file, line: 1, column: 1, span: Range::default(), message, label: None, hint }
    }

    /// Names are unique over all kinds of objects; the first definition stays.
    fn refuse_repeated_names(&mut self, placed: &mut Vec<Placed>) {
        let mut first: BTreeMap<String, (&'static str, usize, Span)> = BTreeMap::new();
        let mut repeated = Vec::new();
        placed.retain(|Placed { file, statement }| {
            let name = statement.name();
            match first.get(&fold(name)) {
                None => {
                    first.insert(fold(name), (statement.kind(), *file, name.span));
                    true
                }
                Some((kind, first_file, first_span)) => {
                    repeated.push((*file, name.clone(), *kind, *first_file, *first_span));
                    false
                }
            }
        });
        for (file, name, kind, first_file, first_span) in repeated {
            let (line, column) =
                self.places[first_file].line_and_column(self.places[first_file].bytes(first_span).start);
            let place = format!("{}:{line}:{column}", self.files[first_file].name);
            let message = format!("`{}` is already defined, as a {kind} at {place}", fold(&name));
            self.refuse(file, [Refusal::new(name.span, message).hint("names are unique in a project")]);
        }
    }

    fn check(&mut self, placed: &[Placed]) -> Project {
        let mut project = Project::default();
        let statements = placed.iter().map(|placed| &placed.statement).collect();
        let scored = scored_streams(placed);
        let lookup = Lookup { statements, unreadable: &self.unreadable.clone(), scored: &scored };
        let mut services: Registry<FeatureService> = Registry::new();
        let mut streams: Registry<Stream> = Registry::new();
        for Placed { file, statement } in placed {
            let Statement::Stream(syntax) = statement else { continue };
            let checked = Stream::check(syntax);
            self.register(*file, fold(&syntax.name), checked, &mut streams, &mut project.streams);
        }
        let mut tables: Registry<Table> = Registry::new();
        for Placed { file, statement } in placed {
            let Statement::Table(syntax) = statement else { continue };
            self.register(*file, fold(&syntax.name), Table::check(syntax), &mut tables, &mut project.tables);
        }
        let (computed, scored): (Vec<_>, Vec<_>) =
            placed.iter().filter_map(Waiting::of).partition(|one| !scored.contains(&one.name));
        self.check_derived(computed, &lookup, (&tables, &services), &mut streams, &mut project.derived);
        let relations = Relations { streams: &streams, tables: &tables, services: &services, lookup: &lookup };
        let mut views: Registry<FeatureView> = Registry::new();
        for Placed { file, statement } in placed {
            let Statement::View(syntax) = statement else { continue };
            let mut warnings = Vec::new();
            let checked = FeatureView::check(syntax, relations, &mut warnings);
            let warnings: Vec<DefinitionError> =
                warnings.into_iter().map(|warning| self.place(*file, warning)).collect();
            self.warnings.extend(warnings);
            self.register(*file, fold(&syntax.name), checked, &mut views, &mut project.views);
        }
        for Placed { file, statement } in placed {
            let Statement::Service { query, request } = statement else { continue };
            let checked = FeatureService::check(query, request, |name| lookup.find(&views, "feature view", name));
            self.register(*file, fold(&query.name), checked, &mut services, &mut project.services);
        }
        self.check_derived(scored, &lookup, (&tables, &services), &mut streams, &mut project.derived);
        let relations = Relations { streams: &streams, tables: &tables, services: &services, lookup: &lookup };
        let mut sinks: Registry<Sink> = Registry::new();
        for Placed { file, statement } in placed {
            let Statement::Sink(syntax) = statement else { continue };
            let checked = Sink::check(syntax, relations, |name| lookup.view(&views, name));
            self.register(*file, fold(&syntax.query.name), checked, &mut sinks, &mut project.sinks);
        }
        for Placed { file, statement } in placed {
            let Statement::Derived { query, options: Some(options) } = statement else { continue };
            let Some(Known::Good(stream)) = streams.get(&fold(&query.name)) else { continue };
            let checked = Sink::of_stream(stream.clone(), &query.name, options);
            self.register(*file, fold(&query.name), checked, &mut sinks, &mut project.sinks);
        }
        project
    }

    /// Each derived stream after those that it reads, whatever the order of definition.
    fn check_derived(
        &mut self,
        mut waiting: Vec<Waiting<'_>>,
        lookup: &Lookup<'_>,
        (tables, services): (&Registry<Table>, &Registry<FeatureService>),
        streams: &mut Registry<Stream>,
        good: &mut Vec<Arc<Stream>>,
    ) {
        while !waiting.is_empty() {
            let names: Vec<String> = waiting.iter().map(|one| one.name.clone()).collect();
            match waiting.iter().position(|one| !one.reads.iter().any(|name| names.contains(name))) {
                Some(next) => {
                    let Waiting { file, syntax, name, .. } = waiting.remove(next);
                    let checked = Stream::derive(syntax, Relations { streams, tables, services, lookup });
                    self.register(file, name, checked, streams, good);
                }
                None => {
                    let circle = circle_in(&waiting);
                    let first = &waiting[circle[0]];
                    self.refuse(first.file, [circle_refusal(&waiting, &circle)]);
                    for place in &circle {
                        streams.insert(waiting[*place].name.clone(), Known::Refused);
                    }
                    let mut place = 0..;
                    waiting.retain(|_| place.next().is_some_and(|place| !circle.contains(&place)));
                }
            }
        }
    }

    /// What is checked, and not evaluated yet: some group windows over joined rows.
    fn refuse_what_is_not_built(&mut self, placed: &[Placed], project: &Project) {
        for Placed { file, statement } in placed {
            let Statement::Derived { query: syntax, .. } = statement else { continue };
            let stream = project.derived.iter().find(|stream| stream.name == fold(&syntax.name));
            let refusal = stream.and_then(|stream| joined_windows_refusal(stream.window()?, syntax.name.span));
            self.refuse(*file, refusal);
        }
    }

    fn register<T>(
        &mut self,
        file: usize,
        name: String,
        checked: Result<T, Vec<Refusal>>,
        registry: &mut Registry<T>,
        good: &mut Vec<Arc<T>>,
    ) {
        match checked {
            Ok(object) => {
                let object = Arc::new(object);
                good.push(Arc::clone(&object));
                registry.insert(name, Known::Good(object));
            }
            Err(refusals) => {
                self.refuse(file, refusals.into_iter().filter(|refusal| !refusal.is_consequence));
                registry.insert(name, Known::Refused);
            }
        }
    }
}

/// Why the rows of closed windows cannot be made of joined rows, if they cannot: a version that comes late may take an event
/// out of a session, or put it into one that has closed; and the clock closes no windows that a file has a part in.
fn joined_windows_refusal(window: &WindowedInput, place: Span) -> Option<Refusal> {
    let tables = window.view.stream.tables();
    let first = tables.first()?;
    if matches!(window.shape, GroupWindow::Session { .. }) {
        let message = format!("a SESSION window over rows that are joined with table `{}`", first.name());
        let refusal = Refusal::new(place, format!("{message} is not supported yet"));
        return Some(refusal.hint("join the table to the rows of the sessions, or to the view over them"));
    }
    let is_file = |stream: &Arc<Stream>| matches!(stream.connector, Connector::File(_));
    let origins = window.view.stream.origins();
    let all: Vec<&Arc<Stream>> = origins.iter().chain(tables.iter().map(|table| &table.versions)).collect();
    let file = all.iter().find(|one| is_file(one))?;
    let stored = all.iter().find(|one| !is_file(one))?;
    let message = format!(
        "a group window over joined rows, of the file of `{}` and the log of `{}`, is not supported yet",
        file.name, stored.name
    );
    let hint = format!("declare `{0}` without the connector, and store its rows by `asof ingest {0} FILE`", file.name);
    Some(Refusal::new(place, message).hint(hint))
}

/// A derived stream that is not checked yet.
struct Waiting<'p> {
    file: usize,
    name: String,
    syntax: &'p QuerySyntax,
    reads: Vec<String>,
}

impl<'p> Waiting<'p> {
    fn of(placed: &'p Placed) -> Option<Waiting<'p>> {
        let Statement::Derived { query: syntax, .. } = &placed.statement else { return None };
        let reads = relations(syntax).iter().map(fold).collect();
        Some(Waiting { file: placed.file, name: fold(&syntax.name), syntax, reads })
    }
}

/// The derived streams whose rows have features, and those that read such.
fn scored_streams(placed: &[Placed]) -> Vec<String> {
    let mut derived: Vec<Waiting<'_>> = placed.iter().filter_map(Waiting::of).collect();
    let mut scored: Vec<String> = Vec::new();
    loop {
        let is_scored = |one: &Waiting<'_>| {
            !one.syntax.service_calls.is_empty() || one.reads.iter().any(|read| scored.contains(read))
        };
        let Some(next) = derived.iter().position(is_scored) else { return scored };
        scored.push(derived.remove(next).name);
    }
}

/// The places of streams that each read the next one, and the last the first. Every one that waits reads another.
fn circle_in(waiting: &[Waiting<'_>]) -> Vec<usize> {
    let mut path = vec![0];
    loop {
        let last = &waiting[path[path.len() - 1]];
        let next = waiting.iter().position(|other| last.reads.contains(&other.name));
        let next = next.expect("a stream that reads none of the waiting ones is checked");
        if let Some(start) = path.iter().position(|place| *place == next) {
            return path.split_off(start);
        }
        path.push(next);
    }
}

fn circle_refusal(waiting: &[Waiting<'_>], circle: &[usize]) -> Refusal {
    let first = &waiting[circle[0]];
    let others = circle[1..].iter().map(|place| waiting[*place].name.as_str());
    let path: Vec<&str> = others.chain([first.name.as_str()]).collect();
    let message = match path.len() {
        1 => format!("derived stream `{}` reads itself", first.name),
        _ => format!("derived streams in a circle: `{}` reads `{}`", first.name, path.join("`, which reads `")),
    };
    Refusal::new(first.syntax.name.span, message).hint("a derived stream begins at streams with events of their own")
}
