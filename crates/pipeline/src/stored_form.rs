//! What the logs of a project's sources are of, and which sources have one.

use std::sync::Arc;

use asof_definition::{Connector, Project, Stream};

use crate::binding::{BoundScored, BoundWindows, sources_of};

/// A source as its log has it.
#[derive(Debug)]
pub(crate) struct StoredForm {
    /// With the name that its folders bear.
    pub(crate) stream: Arc<Stream>,
    /// Whether it has a log where there is a data folder.
    pub(crate) is_logged: bool,
}

/// For each source of a project.
pub(crate) fn stored_forms(project: &Project, windows: &[BoundWindows], scored: &[BoundScored]) -> Vec<StoredForm> {
    let sources = sources_of(project);
    let first_table = sources.len() - project.tables.len();
    let of_tables: Vec<bool> = sources[first_table..].iter().map(|table| is_log(table)).collect();
    let mut forms: Vec<StoredForm> = Vec::with_capacity(sources.len());
    for (place, source) in sources.iter().enumerate() {
        let own_scored = scored.iter().find(|one| one.source == place);
        let form = match (windows.iter().find(|one| one.source == place), place.checked_sub(first_table)) {
            (Some(bound), _) => StoredForm {
                stream: bound.windows.stored_form(),
                // Rows that files have a part in are made anew at each start, as the files are read anew.
                is_logged: bound.reads.iter().all(|read| match read.checked_sub(first_table) {
                    Some(table) => of_tables[table],
                    None => forms[*read].is_logged,
                }),
            },
            (None, Some(table)) => StoredForm { stream: project.tables[table].stored(), is_logged: is_log(source) },
            (None, None) if let Some(bound) = own_scored => StoredForm {
                stream: bound.stream.stored_form(),
                is_logged: bound.reads.iter().all(|read| forms[*read].is_logged),
            },
            (None, None) => StoredForm { stream: source.clone(), is_logged: is_log(source) },
        };
        forms.push(form);
    }
    forms
}

fn is_log(source: &Stream) -> bool {
    matches!(source.connector, Connector::Log(_))
}
