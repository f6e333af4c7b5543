//! The schemas that records are read by, where they come with the records.
//!
//! They belong to the process, not to a session, so that what was learnt from a record stays known. Clones share it.

use std::collections::BTreeSet;

use super::DecodeError;
use super::avro::Known;
use super::flaw::Part;
use crate::config::{Avro, Decode, Payload};

/// What is known of the schemas of some topics that are read alike.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    values: Option<Known>,
    keys: Option<Known>,
}

impl Schemas {
    /// For formats without schemas of their own; and to look at a configuration without asking a registry.
    pub fn none() -> Self {
        Self::default()
    }

    /// Asks the registry for the newest schemas of these topics, if the columns are theirs. Decoders over it may wait
    /// for the registry in `push`: on a thread of their own, while the runtime of this call lives.
    pub async fn open(spec: &Decode, topics: &BTreeSet<String>) -> Result<Self, DecodeError> {
        let mut schemas = Self::none();
        let policy = spec.on_incompatible_schema;
        if let Payload::Avro(avro) = &spec.value {
            let part = if spec.debezium.is_some() { Part::Change } else { Part::Value };
            schemas.values = Some(Known::open(avro, part, policy, topics).await?);
        }
        if let Some(Payload::Avro(avro)) = spec.key.as_ref().map(|key| &key.payload) {
            schemas.keys = Some(Known::open(avro, Part::Key, policy, topics).await?);
        }
        Ok(schemas)
    }

    /// What brought a followed column, or its newest type: `schema id 7`.
    pub fn row_origin(&self, column: &str) -> Option<String> {
        self.values.as_ref().and_then(|values| values.origin(column))
    }

    /// A table can't take what the value's schema of this origin made of the columns, for this reason. `false`: nothing
    /// can be done about it; otherwise decoders made anew have other columns, or refuse its records.
    pub async fn give_way(&self, origin: &str, reason: &str) -> Result<bool, DecodeError> {
        match &self.values {
            Some(values) => values.give_way(origin, reason).await,
            None => Ok(false),
        }
    }

    /// What is known of a part of the records; nothing but a fixed schema where nobody has been asked.
    pub(super) fn avro(&self, spec: &Avro, part: Part) -> Result<Known, DecodeError> {
        let known = if part == Part::Key { &self.keys } else { &self.values };
        known.clone().map_or_else(|| Known::offline(spec, part), Ok)
    }
}
