//! JSON lines into columns: one object a line, no tree in between.
//!
//! Two readers of a line, one truth. The *quick* one lets the parser write each value straight into its column and gives
//! up at the first thing that is not plain (a value of another type, a name that differs in case twice, bad syntax). The
//! *patient* one then reads the line again from its raw values, applies the rules to the letter (the last of equal names
//! wins; exact name, else the only one alike), and words what is wrong. Both put values through [`Column::set`].

use std::fmt;

use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::batch_builder::BatchBuilder;
use crate::column::{Column, Scalar, bounded};

/// How many field names are remembered before new ones are looked up each time.
const NAMES_REMEMBERED_MAX: usize = 4_096;

/// How the fields of a line are matched and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonRule {
    /// An event: names match but for case if unique, a value of another type makes the row unreadable.
    Event,
    /// A spine: names match exactly, and a VARCHAR column takes whatever stands there as its JSON text.
    Spine,
}

/// What a field name means to the wanted columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Ignored,
    Exact(usize),
    Alike(usize),
    /// Several columns have a claim to it: the patient reader decides.
    Disputed,
}

/// Reads lines into a batch; remembers field names from line to line.
pub(crate) struct JsonRows<'a> {
    names: &'a [String],
    names_lower: Vec<String>,
    rule: JsonRule,
    /// Names by their place in the previous lines: lines mostly have the same fields in the same order.
    by_place: Vec<(Box<str>, Target)>,
    by_name: HashMap<Box<str>, Target, foldhash::fast::RandomState>,
    /// Whether a column of this row was set, and by which kind of name.
    claims: Vec<Target>,
}

impl<'a> JsonRows<'a> {
    pub(crate) fn new(names: &'a [String], rule: JsonRule) -> JsonRows<'a> {
        JsonRows {
            names,
            names_lower: names.iter().map(|name| name.to_lowercase()).collect(),
            rule,
            by_place: Vec::new(),
            by_name: HashMap::default(),
            claims: vec![Target::Ignored; names.len()],
        }
    }

    /// Appends the row of `line`.
    pub(crate) fn read(&mut self, line: &[u8], batch: &mut BatchBuilder<'_>) {
        batch.start_row();
        let Ok(text) = std::str::from_utf8(line) else {
            return batch.reject_row("the row is not UTF-8 text".to_owned(), line);
        };
        if self.read_quickly(text, &mut batch.columns) {
            return;
        }
        batch.reset_row();
        if let Err(detail) = self.read_patiently(text, batch) {
            batch.reject_row(detail, line);
        }
    }

    fn read_quickly(&mut self, line: &str, columns: &mut [Column]) -> bool {
        self.claims.fill(Target::Ignored);
        let mut parser = serde_json::Deserializer::from_str(line);
        let row = RowVisitor { rows: self, columns };
        parser.deserialize_map(row).is_ok() && parser.end().is_ok()
    }

    fn read_patiently(&self, line: &str, batch: &mut BatchBuilder<'_>) -> Result<(), String> {
        let fields: RawFields = serde_json::from_str(line).map_err(|error| not_an_object(line, &error))?;
        let mut text = String::new();
        for (index, name) in self.names.iter().enumerate() {
            let Some(raw) = fields.field(name, self.rule) else { continue };
            let scalar = scalar_of(raw, &mut text);
            let is_set = match (self.rule, scalar) {
                (JsonRule::Spine, Scalar::Null) | (_, Scalar::Text(_)) => batch.columns[index].set(scalar),
                (JsonRule::Spine, _) => batch.columns[index].set(scalar) || batch.columns[index].set(Scalar::Text(raw)),
                (JsonRule::Event, _) => batch.columns[index].set(scalar),
            };
            if !is_set {
                return Err(batch.mismatch(index, scalar));
            }
        }
        Ok(())
    }

    /// What the name at this place of the line means.
    fn target(&mut self, place: usize, name: &str) -> Target {
        if let Some((known, target)) = self.by_place.get(place)
            && **known == *name
        {
            return *target;
        }
        if let Some(target) = self.by_name.get(name) {
            return *target;
        }
        let target = self.resolve(name);
        if self.by_name.len() < NAMES_REMEMBERED_MAX {
            self.by_name.insert(name.into(), target);
        }
        if self.by_place.len() == place && place < NAMES_REMEMBERED_MAX {
            self.by_place.push((name.into(), target));
        }
        target
    }

    fn resolve(&self, name: &str) -> Target {
        let exact = self.names.iter().position(|wanted| wanted == name);
        if self.rule == JsonRule::Spine {
            return exact.map_or(Target::Ignored, Target::Exact);
        }
        let lower = name.to_lowercase();
        let mut alike = (0..self.names.len()).filter(|index| self.names_lower[*index] == lower);
        match (exact, alike.next(), alike.next()) {
            (_, _, Some(_)) => Target::Disputed,
            (Some(exact), _, None) => Target::Exact(exact),
            (None, Some(only), None) => Target::Alike(only),
            (None, None, None) => Target::Ignored,
        }
    }
}

fn not_an_object(line: &str, error: &serde_json::Error) -> String {
    match line.trim_start().as_bytes().first() {
        Some(b'{') => format!("invalid JSON: {}", bounded(&error.to_string(), 200)),
        _ if serde_json::from_str::<IgnoredAny>(line).is_ok() => "the row is not a JSON object".to_owned(),
        _ => "the row is not JSON".to_owned(),
    }
}

/// The quick reader's view of one object.
struct RowVisitor<'r, 'a> {
    rows: &'r mut JsonRows<'a>,
    columns: &'r mut [Column],
}

/// Why the quick reader gave up; never shown.
const GIVEN_UP: &str = "read patiently";

impl<'de> Visitor<'de> for RowVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<(), M::Error> {
        let mut place = 0;
        while let Some(target) = fields.next_key_seed(NameSeed { rows: self.rows, place })? {
            place += 1;
            let column = match target {
                Target::Exact(column) => column,
                // An exact name wins over one alike, wherever it stands; a second one alike is for the patient reader.
                Target::Alike(column) if self.rows.claims[column] == Target::Ignored => column,
                Target::Ignored => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
                Target::Alike(_) | Target::Disputed => return Err(M::Error::custom(GIVEN_UP)),
            };
            self.rows.claims[column] = target;
            fields.next_value_seed(ValueSeed { column: &mut self.columns[column] })?;
        }
        Ok(())
    }
}

struct NameSeed<'r, 'a> {
    rows: &'r mut JsonRows<'a>,
    place: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_, '_> {
    type Value = Target;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Target, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_, '_> {
    type Value = Target;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Target, E> {
        Ok(self.rows.target(self.place, name))
    }
}

struct ValueSeed<'c> {
    column: &'c mut Column,
}

impl ValueSeed<'_> {
    fn set<E: Error>(self, scalar: Scalar<'_>) -> Result<(), E> {
        if self.column.set(scalar) { Ok(()) } else { Err(E::custom(GIVEN_UP)) }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.set(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.set(Scalar::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.set(Scalar::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let value = i64::try_from(value).map_err(|_| E::custom(GIVEN_UP))?;
        self.set(Scalar::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.set(Scalar::Double(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.set(Scalar::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(GIVEN_UP))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(GIVEN_UP))
    }
}

/// An object's names and raw values as they stand.
pub(crate) struct RawFields<'l>(pub(crate) Vec<(String, &'l RawValue)>);

impl<'l> RawFields<'l> {
    /// The last value of that name, else of the only name that differs in case alone.
    fn field(&self, wanted: &str, rule: JsonRule) -> Option<&'l str> {
        let last = |name: &str| self.0.iter().rev().find(|(other, _)| other == name).map(|(_, raw)| raw.get());
        if let Some(raw) = last(wanted) {
            return Some(raw);
        }
        if rule == JsonRule::Spine {
            return None;
        }
        let lower = wanted.to_lowercase();
        let mut alike = self.0.iter().map(|(name, _)| name).filter(|name| name.to_lowercase() == lower);
        let first = alike.next()?;
        if alike.any(|other| other != first) {
            return None;
        }
        last(first)
    }
}

impl<'de> serde::Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<RawFields<'de>, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RawFields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawFields<'de>, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, &RawValue>()? {
                    fields.push(field);
                }
                Ok(RawFields(fields))
            }
        }
        object.deserialize_map(FieldsVisitor)
    }
}

/// The value of a JSON text that the parser has accepted. `text` holds an unescaped string.
pub(crate) fn scalar_of<'s>(raw: &'s str, text: &'s mut String) -> Scalar<'s> {
    match raw.as_bytes().first() {
        Some(b'n') => Scalar::Null,
        Some(b't') => Scalar::Boolean(true),
        Some(b'f') => Scalar::Boolean(false),
        // Most texts stand as they are: the parser has accepted the quotes and that nothing between them needs an escape.
        Some(b'"') if !raw.as_bytes().contains(&b'\\') => Scalar::Text(&raw[1..raw.len() - 1]),
        Some(b'"') => match serde_json::from_str(raw) {
            Ok(unescaped) => {
                *text = unescaped;
                Scalar::Text(text)
            }
            Err(_) => Scalar::Other(raw), // half of a surrogate pair: no text
        },
        Some(b'-' | b'0'..=b'9') => number_of(raw),
        _ => Scalar::Other(raw),
    }
}

/// An integer is what has neither point nor exponent, as in the reference.
fn number_of(raw: &str) -> Scalar<'_> {
    if raw.contains(['.', 'e', 'E']) {
        return raw.parse().map_or(Scalar::Other(raw), Scalar::Double);
    }
    raw.parse().map_or(Scalar::WideInteger(raw), Scalar::Integer)
}
