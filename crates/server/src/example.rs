//! Requests that really work: with the key of an entity that an event was lately taken in for.

use arrow::array::ArrayRef;
use asof_connect::write_json_value;
use asof_pipeline::Engine;
use serde_json::{Map, Value};

/// A row for the service with this index in the project. Columns that are key parts of a joined view, and nothing else,
/// take the example key's value; all others are null.
///
/// # Panics
/// If the project has no such service.
pub fn example_request(engine: &Engine, service: usize) -> Value {
    let project = engine.project();
    let service = &project.services[service];
    let mut values: Vec<Option<Value>> = vec![None; service.request.len()];
    for join in &service.joins {
        let view = project.views.iter().position(|view| view.name == join.view.name);
        let view = view.expect("a service joins views of its project");
        let Some(key) = engine.view_statistics(view).example_key else { continue };
        for (expression, part) in join.key.iter().zip(&key) {
            if let Some(column) = expression.as_column().filter(|column| values[*column].is_none()) {
                values[column] = Some(value_of(part));
            }
        }
    }
    let names = service.request.iter().map(|column| column.name.clone());
    Value::Object(names.zip(values.into_iter().map(Option::unwrap_or_default)).collect())
}

/// The key of an entity of the view with this index in the project; nulls before the first event.
///
/// # Panics
/// If the project has no such view.
pub fn example_key(engine: &Engine, view: usize) -> Value {
    let parts = &engine.project().views[view].key;
    let key = engine.view_statistics(view).example_key;
    let value = |place: usize| key.as_ref().map_or(Value::Null, |key| value_of(&key[place]));
    Value::Object(
        parts.iter().enumerate().map(|(place, part)| (part.name.clone(), value(place))).collect::<Map<_, _>>(),
    )
}

/// The only value of an array, as answers have it.
fn value_of(array: &ArrayRef) -> Value {
    let mut json = Vec::new();
    write_json_value(array, 0, &mut json);
    serde_json::from_slice(&json).expect("what is written as JSON is JSON")
}
