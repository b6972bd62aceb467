//! What is known of who wrote messages: by the numbers of their schemas in a registry.

use std::collections::{BTreeMap, BTreeSet};

use crate::messages::framing::Frame;
use crate::messages::read_messages::Values;
use crate::messages::schema_registry::{RegisteredSchema, RegistryTrouble, SchemaRegistry};

/// So many are remembered; a topic that has more is read by asking again.
const WRITERS_MAX: usize = 1_024;
/// So many schemas are asked for before it is looked whether anybody still waits.
const ASKED_MAX: usize = 64;
/// So often a number is asked for that the registry does not have, a second apart, before its messages are set aside.
const ASKED_AGAIN: u32 = 3;

/// What becomes of the messages of one writer.
#[derive(Debug)]
pub(crate) enum Reading<W> {
    /// They are read.
    By(W),
    /// They are set aside, and why.
    SetAside(String),
    /// They are none of the stream's.
    PassedOver,
}

/// The writers of a topic.
#[derive(Debug)]
pub(crate) struct Writers<W> {
    known: BTreeMap<u32, Writer<W>>,
    /// How often numbers were asked for that the registry does not have.
    asked: BTreeMap<u32, u32>,
}

#[derive(Debug)]
struct Writer<W> {
    reading: Reading<W>,
    messages: u64,
}

/// What a running job tells of one writer's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterSchema {
    /// Its number in the registry.
    pub schema: u32,
    /// Messages of it since the start.
    pub messages: u64,
    /// Why they are set aside, if they are.
    pub trouble: Option<String>,
    /// Whether they are of another type than the stream reads.
    pub is_passed_over: bool,
}

impl<W> Default for Writers<W> {
    fn default() -> Writers<W> {
        Writers { known: BTreeMap::new(), asked: BTreeMap::new() }
    }
}

impl<W> Writers<W> {
    /// Asks for the schemas that these values name and that are not known yet.
    pub(crate) fn learn(
        &mut self,
        values: Values<'_>,
        registry: Option<&SchemaRegistry>,
        read: impl Fn(u32, &RegisteredSchema) -> Reading<W>,
    ) -> Result<(), RegistryTrouble> {
        let Some(registry) = registry else { return Ok(()) };
        let frames = values.iter().flatten().filter_map(|value| Frame::of(value).ok());
        let named: BTreeSet<u32> = frames.map(|frame| frame.schema).collect();
        let new: Vec<u32> = named.iter().copied().filter(|number| !self.known.contains_key(number)).collect();
        if self.known.len() + new.len() > WRITERS_MAX {
            self.known.retain(|number, _| named.contains(number));
        }
        for (place, number) in new.into_iter().enumerate() {
            if place >= ASKED_MAX {
                return Err(registry.more_to_ask());
            }
            let reading = match registry.schema(number) {
                Ok(schema) => read(number, &schema),
                Err(trouble @ RegistryTrouble::Unknown { .. }) => self.unknown(number, trouble)?,
                Err(trouble) => return Err(trouble),
            };
            if let Reading::SetAside(why) = &reading {
                tracing::warn!(schema = number, "messages of this schema are set aside: {why}");
            }
            self.known.insert(number, Writer { reading, messages: 0 });
        }
        Ok(())
    }

    /// A number that the registry does not have: one of its followers may only not know it yet.
    fn unknown(&mut self, number: u32, trouble: RegistryTrouble) -> Result<Reading<W>, RegistryTrouble> {
        if self.asked.len() > WRITERS_MAX {
            self.asked.clear();
        }
        let asked = self.asked.entry(number).or_default();
        *asked += 1;
        if *asked < ASKED_AGAIN {
            return Err(trouble);
        }
        self.asked.remove(&number);
        Ok(Reading::SetAside(trouble.to_string()))
    }

    /// What becomes of one more message of this writer. `None`: it is not known.
    pub(crate) fn next(&mut self, number: u32) -> Option<&mut Reading<W>> {
        let writer = self.known.get_mut(&number)?;
        writer.messages += 1;
        Some(&mut writer.reading)
    }

    /// A writer whose messages are read.
    pub(crate) fn reader(&mut self, number: u32) -> Option<&mut W> {
        match self.known.get_mut(&number).map(|writer| &mut writer.reading) {
            Some(Reading::By(reader)) => Some(reader),
            _ => None,
        }
    }

    /// What is told of them, in the order of their numbers. `trouble` says what is wrong with messages of one that is
    /// read.
    pub(crate) fn told(&self, trouble: impl Fn(&W) -> Option<String>) -> Vec<WriterSchema> {
        let one = |(number, writer): (&u32, &Writer<W>)| WriterSchema {
            schema: *number,
            messages: writer.messages,
            trouble: match &writer.reading {
                Reading::By(reader) => trouble(reader),
                Reading::SetAside(why) => Some(why.clone()),
                Reading::PassedOver => None,
            },
            is_passed_over: matches!(writer.reading, Reading::PassedOver),
        };
        self.known.iter().map(one).collect()
    }
}
