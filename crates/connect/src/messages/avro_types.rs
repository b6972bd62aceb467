//! Looks through the types of an Avro schema before any reader does: what it would unfold to is bounded.
//!
//! Named types are written once and used by name. A few kilobytes of names that use each other twice are more types
//! than a machine has room for, and an array of items that take no bytes has any number of them in ten.

use std::collections::HashMap;

use serde_json::Value;

/// How many types a schema may unfold to, and how deep they may lie in each other.
const TYPES_MAX: usize = 2_000;
const DEPTH_MAX: usize = 32;
/// The longest name of an enumeration's value: it becomes a text for each row.
const SYMBOL_BYTES_MAX: usize = 1_024;

/// What one type unfolds to.
#[derive(Debug, Clone, Copy)]
struct Unfolded {
    types: usize,
    depth: usize,
    /// Whether its values take no bytes.
    is_empty: bool,
}

const LEAF: Unfolded = Unfolded { types: 1, depth: 1, is_empty: false };

/// The named types that were met so far; `None` is one that is not at its end yet.
#[derive(Debug, Default)]
pub(crate) struct AvroTypes {
    named: HashMap<String, Option<Unfolded>>,
    named_again: Option<String>,
}

/// The name of a type with its namespace, or that of the type around it.
pub(crate) fn full_name(schema: &Value, around: &str) -> Option<String> {
    let word = |key: &str| schema.get(key).and_then(Value::as_str);
    let name = word("name")?;
    let space = word("namespace").unwrap_or(around);
    Some(if space.is_empty() || name.contains('.') { name.to_owned() } else { format!("{space}.{name}") })
}

impl AvroTypes {
    /// Gives a type that is used by its name a second time, if there is one. An error is what cannot be read.
    pub(crate) fn look_at(mut self, schema: &Value) -> Result<Option<String>, String> {
        self.unfold(schema, "", 0)?;
        Ok(self.named_again)
    }

    fn unfold(&mut self, schema: &Value, space: &str, depth: usize) -> Result<Unfolded, String> {
        if depth > DEPTH_MAX {
            return Err(format!("its types lie in each other more than {DEPTH_MAX} deep"));
        }
        let unfolded = match schema {
            Value::String(name) => self.by_name(name, space)?,
            // Which branch it is takes a byte.
            Value::Array(branches) => Unfolded { is_empty: false, ..self.all(branches.iter(), space, depth)? },
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.declared(kind, schema, space, depth)?,
                Some(inner) => self.unfold(inner, space, depth + 1)?,
                None => return Err("it has a type without a name".to_owned()),
            },
            _ => return Err("it has a type that is none".to_owned()),
        };
        if unfolded.types > TYPES_MAX || unfolded.depth > DEPTH_MAX {
            return Err(format!("it unfolds to more than {TYPES_MAX} types, or more than {DEPTH_MAX} deep"));
        }
        Ok(unfolded)
    }

    fn by_name(&mut self, name: &str, space: &str) -> Result<Unfolded, String> {
        match name {
            "null" => return Ok(Unfolded { is_empty: true, ..LEAF }),
            "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string" => return Ok(LEAF),
            _ => {}
        }
        let here = format!("{space}.{name}");
        let known = if name.contains('.') { None } else { self.named.get_key_value(&here) };
        match known.or_else(|| self.named.get_key_value(name)) {
            Some((full, Some(unfolded))) => {
                self.named_again.get_or_insert_with(|| full.clone());
                Ok(*unfolded)
            }
            Some((full, None)) => Err(format!("the type `{full}` has itself inside, which is not supported")),
            None => Err(format!("there is no type `{name}`")),
        }
    }

    /// Several types beside each other.
    fn all<'t>(
        &mut self,
        types: impl Iterator<Item = &'t Value>,
        space: &str,
        depth: usize,
    ) -> Result<Unfolded, String> {
        let mut all = Unfolded { is_empty: true, ..LEAF };
        for one in types {
            let one = self.unfold(one, space, depth + 1)?;
            all.is_empty &= one.is_empty;
            all.types = all.types.saturating_add(one.types);
            all.depth = all.depth.max(one.depth + 1);
        }
        Ok(all)
    }

    fn declared(&mut self, kind: &str, schema: &Value, space: &str, depth: usize) -> Result<Unfolded, String> {
        let inside = |key: &str| schema.get(key).ok_or_else(|| format!("a type `{kind}` has no `{key}`"));
        match kind {
            "array" | "map" => {
                let items = self.unfold(inside(if kind == "array" { "items" } else { "values" })?, space, depth + 1)?;
                if kind == "array" && items.is_empty {
                    return Err("it has an array whose items take no bytes, which is not supported".to_owned());
                }
                Ok(Unfolded { types: items.types + 1, depth: items.depth + 1, is_empty: false })
            }
            "record" | "error" | "enum" | "fixed" => {
                let name = full_name(schema, space).ok_or_else(|| format!("a type `{kind}` has no name"))?;
                self.named.insert(name.clone(), None);
                let own_space = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
                let unfolded = match kind {
                    "fixed" => Unfolded { is_empty: inside("size")?.as_u64() == Some(0), ..LEAF },
                    "enum" => {
                        let symbols = inside("symbols")?.as_array().into_iter().flatten().filter_map(Value::as_str);
                        if symbols.clone().any(|symbol| symbol.len() > SYMBOL_BYTES_MAX) {
                            return Err(format!("`{name}` has a symbol longer than {SYMBOL_BYTES_MAX} bytes"));
                        }
                        LEAF
                    }
                    _ => {
                        let fields = inside("fields")?.as_array().ok_or("the fields of a record are no list")?;
                        let types = fields.iter().map(|field| field.get("type").ok_or("a field has no type"));
                        let types = types.collect::<Result<Vec<&Value>, &str>>()?;
                        self.all(types.into_iter(), &own_space, depth)?
                    }
                };
                self.named.insert(name, Some(unfolded));
                Ok(unfolded)
            }
            primitive => self.by_name(primitive, space),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: &Value) -> String {
        AvroTypes::default().look_at(schema).err().unwrap_or_default()
    }

    #[test]
    fn what_unfolds_to_too_much_is_refused() {
        let mut fields = vec![json!({"name": "a", "type": {"type": "enum", "name": "R0", "symbols": ["x"]}})];
        for level in 1..40 {
            let inner = format!("R{}", level - 1);
            let record = json!({"type": "record", "name": format!("R{level}"), "fields": [
                {"name": "a", "type": inner}, {"name": "b", "type": inner}]});
            fields.push(json!({"name": format!("f{level}"), "type": record}));
        }
        assert!(
            said(&json!({"type": "record", "name": "All", "fields": fields})).starts_with("it unfolds to more than")
        );
        let mut deep = json!("long");
        for _ in 0..60 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(said(&deep).contains("deep"));
        let recursive = json!({"type": "record", "name": "Node", "namespace": "x", "fields": [
            {"name": "next", "type": ["null", "Node"]}]});
        assert_eq!(said(&recursive), "the type `x.Node` has itself inside, which is not supported");
        assert!(said(&json!({"type": "array", "items": "null"})).contains("no bytes"));
        assert!(said(&json!({"type": "enum", "name": "e", "symbols": ["x".repeat(2_000)]})).contains("longer than"));
        assert_eq!(said(&json!({"type": "array", "items": "Nothing"})), "there is no type `Nothing`");
    }

    #[test]
    fn a_type_that_is_named_again_is_told() {
        let schema = json!({"type": "record", "name": "a.R", "fields": [
            {"name": "one", "type": {"type": "enum", "name": "E", "symbols": ["x"]}}, {"name": "two", "type": ["null", "E"]}]});
        assert_eq!(AvroTypes::default().look_at(&schema), Ok(Some("a.E".to_owned())));
        assert_eq!(AvroTypes::default().look_at(&json!({"type": "map", "values": "long"})), Ok(None));
    }
}
