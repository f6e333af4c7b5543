//! What is known of the schemas that the values, or the keys, of some topics are written with, and the columns that
//! come of them together. Shared by the decoders of a process, so that what one learnt from a record stays known.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::Field;
use tokio::runtime::Handle;

use super::super::error::DecodeError;
use super::super::flaw::Part;
use super::super::registry::{Client, RegisteredSchema, RegistryError, SchemaKind, subject_of};
use super::changes;
use super::columns::columns;
use super::followed::{Followed, Schema};
use super::merge::merge;
use super::parse::parse;
use super::schema::{Row, Type};
use super::unions::Shape;
use crate::config::{Avro, AvroSchemas, OnIncompatibleSchema, Registry};

/// The only schema, where there is no registry.
pub(super) const FIXED: u32 = 0;

/// Clones share it.
#[derive(Debug, Clone)]
pub(in super::super) struct Known(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Source,
    part: Part,
    /// The columns are those of the schemas.
    followed: bool,
    policy: OnIncompatibleSchema,
    learnt: Mutex<Learnt>,
}

#[derive(Debug)]
enum Source {
    /// One schema, which is known.
    Fixed {
        fingerprint: u64,
    },
    Registry {
        client: Client,
        runtime: Handle,
    },
    /// A registry that nobody may ask: for looking at a configuration.
    Offline,
    #[cfg(test)]
    Memory(HashMap<u32, Arc<RegisteredSchema>>),
}

/// A writer's schema, or why it can't be read.
pub(super) type Verdict = Result<Arc<Row>, Arc<str>>;

#[derive(Debug, Default)]
struct Learnt {
    writers: HashMap<u32, Verdict>,
    followed: Followed,
    /// Schemas that columns were begun with, or could not be.
    tried: HashSet<u32>,
}

/// What a record's schema id comes to.
pub(super) enum Lookup {
    Found(Verdict),
    /// The registry denies it.
    Unknown,
}

impl Known {
    /// Asks the registry for the newest schemas of the topics, if the columns are theirs.
    pub(in super::super) async fn open(
        spec: &Avro,
        part: Part,
        policy: OnIncompatibleSchema,
        topics: &BTreeSet<String>,
    ) -> Result<Self, DecodeError> {
        let AvroSchemas::Registry(registry) = &spec.schemas else {
            return Self::offline(spec, part);
        };
        let client = Client::new(registry).map_err(DecodeError::Registry)?;
        let source = Source::Registry { client: client.clone(), runtime: Handle::current() };
        let known = Self::new(source, spec, part, policy);
        if known.0.followed {
            known.learn_newest(&client, registry, topics).await?;
        }
        Ok(known)
    }

    /// Without asking anybody: a fixed schema, or declared columns.
    pub(in super::super) fn offline(spec: &Avro, part: Part) -> Result<Self, DecodeError> {
        let policy = OnIncompatibleSchema::Fail;
        let AvroSchemas::Fixed(text) = &spec.schemas else {
            return Ok(Self::new(Source::Offline, spec, part, policy));
        };
        let refused = |reason: String| DecodeError::AvroSchema { part, reason };
        let parsed = parse(text, &[]).map_err(|error| refused(error.to_string()))?;
        let fingerprint = parsed.fingerprint.expect("a schema without references has one");
        let known = Self::new(Source::Fixed { fingerprint }, spec, part, policy);
        let row = Arc::new(Row::from(parsed.of));
        if known.0.followed {
            known.follow(FIXED, &row, "the schema").map_err(refused)?;
        }
        known.lock().writers.insert(FIXED, Ok(row));
        Ok(known)
    }

    fn new(source: Source, spec: &Avro, part: Part, policy: OnIncompatibleSchema) -> Self {
        Self(Arc::new(Shared {
            source,
            part,
            followed: spec.columns.is_none(),
            policy,
            learnt: Mutex::default(),
        }))
    }

    #[cfg(test)]
    pub(in super::super) fn in_memory(
        spec: &Avro,
        part: Part,
        policy: OnIncompatibleSchema,
        schemas: impl IntoIterator<Item = RegisteredSchema>,
    ) -> Self {
        let schemas = schemas.into_iter().map(|schema| (schema.id, Arc::new(schema)));
        Self::new(Source::Memory(schemas.collect()), spec, part, policy)
    }

    async fn learn_newest(
        &self,
        client: &Client,
        registry: &Registry,
        topics: &BTreeSet<String>,
    ) -> Result<(), DecodeError> {
        let is_key = self.0.part == Part::Key;
        let mut asked = BTreeSet::new();
        for topic in topics {
            let Some(subject) = subject_of(&registry.subjects, topic, is_key) else { continue };
            if !asked.insert(subject.clone()) {
                continue;
            }
            match client.latest(&subject).await {
                Ok(Some(schema)) => {
                    if let Err(reason) = self.begin_with(&subject, &schema) {
                        self.refuse_newest(schema.id, &subject, reason).await?;
                    }
                }
                // No schema yet: the first record brings one.
                Ok(None) => {}
                Err(RegistryError::Unusable { id, reason }) => {
                    self.refuse_newest(id, &subject, reason).await?;
                }
                Err(error) => return Err(DecodeError::Registry(error)),
            }
        }
        Ok(())
    }

    fn begin_with(&self, subject: &str, schema: &RegisteredSchema) -> Result<(), String> {
        let id = schema.id;
        self.lock().tried.insert(id);
        let row = self.row(&*self.judge(schema).map_err(|reason| reason.to_string())?)?;
        let origin = format!("schema id {id} (`{subject}`)");
        let begins = Some(subject.to_owned());
        self.lock().followed.add(Schema { id, origin, begins, row }).map(drop)
    }

    /// Its records will be refused one by one, if the policy says so.
    async fn refuse_newest(
        &self,
        id: u32,
        subject: &str,
        reason: String,
    ) -> Result<(), DecodeError> {
        match self.0.policy {
            OnIncompatibleSchema::DeadLetter => self.begin_with_older(subject).await.map(drop),
            OnIncompatibleSchema::Fail => {
                let origin = format!("schema id {id}, the newest of `{subject}`");
                Err(DecodeError::IncompatibleSchema { origin, reason })
            }
        }
    }

    /// Follows the newest schema of a subject that can be followed and wasn't tried yet, if there is one.
    async fn begin_with_older(&self, subject: &str) -> Result<bool, DecodeError> {
        let Source::Registry { client, .. } = &self.0.source else { return Ok(false) };
        let versions = client.versions(subject).await.map_err(DecodeError::Registry)?;
        for version in versions.into_iter().rev() {
            let schema = match client.version(subject, &version.to_string()).await {
                Ok(Some(schema)) => schema,
                Ok(None) | Err(RegistryError::Unusable { .. }) => continue,
                Err(error) => return Err(DecodeError::Registry(error)),
            };
            let is_new = !self.lock().tried.contains(&schema.id);
            if is_new && self.begin_with(subject, &schema).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A table can't take what the schema of this origin made of the columns. Columns that began with it begin with an
    /// older schema of its subject instead, and it is merged into those, as in a process that has run since then;
    /// elsewhere, and where that doesn't help either, it is refused. `false`: the policy allows no more.
    pub(in super::super) async fn give_way(
        &self,
        origin: &str,
        reason: &str,
    ) -> Result<bool, DecodeError> {
        let Some(schema) = self.lock().followed.remove(origin) else { return Ok(false) };
        let id = schema.id;
        let reason = match &schema.begins {
            Some(subject) if self.begin_with_older(subject).await? => {
                match self.lock().followed.add(Schema { begins: None, ..schema }) {
                    Ok(_) => return Ok(true),
                    Err(reason) => reason,
                }
            }
            _ => reason.to_owned(),
        };
        if self.0.policy == OnIncompatibleSchema::Fail {
            return Ok(false);
        }
        self.lock().writers.insert(id, Err(reason.into()));
        Ok(true)
    }

    pub(super) fn part(&self) -> Part {
        self.0.part
    }

    pub(super) fn policy(&self) -> OnIncompatibleSchema {
        self.0.policy
    }

    pub(super) fn fingerprint(&self) -> Option<u64> {
        match self.0.source {
            Source::Fixed { fingerprint } => Some(fingerprint),
            _ => None,
        }
    }

    /// The schema with this id. May wait for the registry, so not from a thread that serves tokio.
    ///
    /// # Errors
    /// What keeps the registry from answering.
    pub(super) fn writer(&self, id: u32) -> Result<Lookup, DecodeError> {
        if let Some(verdict) = self.lock().writers.get(&id) {
            return Ok(Lookup::Found(verdict.clone()));
        }
        let answer = match &self.0.source {
            Source::Registry { client, runtime } => runtime.block_on(client.schema_by_id(id)),
            Source::Fixed { .. } => unreachable!("the fixed schema is known"),
            Source::Offline => unreachable!("schemas are opened before records are read"),
            #[cfg(test)]
            Source::Memory(schemas) => schemas
                .get(&id)
                .cloned()
                .ok_or(RegistryError::UnknownId { url: "memory".into(), id }),
        };
        match answer {
            Ok(schema) => Ok(Lookup::Found(self.judge(&schema))),
            Err(RegistryError::UnknownId { .. }) => Ok(Lookup::Unknown),
            Err(RegistryError::Unusable { reason, .. }) => {
                Ok(Lookup::Found(self.keep(id, Err(reason.into()))))
            }
            Err(error) => Err(DecodeError::Registry(error)),
        }
    }

    /// Parses a schema and keeps what comes of it.
    fn judge(&self, schema: &RegisteredSchema) -> Verdict {
        let verdict = match schema.kind {
            SchemaKind::Avro => {
                let mut references = Vec::new();
                collect(schema, &mut BTreeSet::from([schema.id]), &mut references);
                parse(&schema.text, &references)
                    .map(|parsed| Arc::new(Row::from(parsed.of)))
                    .map_err(|error| error.to_string().into())
            }
            SchemaKind::Json => Err("a JSON Schema, and the format is Avro".into()),
            SchemaKind::Protobuf => Err("a Protobuf schema, and the format is Avro".into()),
        };
        self.keep(schema.id, verdict)
    }

    fn keep(&self, id: u32, verdict: Verdict) -> Verdict {
        self.lock().writers.entry(id).or_insert(verdict).clone()
    }

    /// All that was followed so far; `None`: nothing yet.
    pub(super) fn merged(&self) -> Option<Row> {
        self.lock().followed.merged().cloned()
    }

    /// Merges a writer's schema into those that the columns follow; the answer is all of them.
    ///
    /// # Errors
    /// Why no columns can hold both; nothing has changed then.
    pub(super) fn follow(&self, id: u32, writer: &Row, origin: &str) -> Result<Row, String> {
        debug_assert!(self.0.followed, "declared columns follow nothing (schema {id})");
        let row = self.row(writer)?;
        self.lock().followed.add(Schema { id, origin: origin.to_owned(), begins: None, row })
    }

    /// What of a writer's schema columns are made of.
    fn row(&self, writer: &Row) -> Result<Row, String> {
        if self.0.part == Part::Change { row_of_envelope(writer) } else { Ok(writer.clone()) }
    }

    /// What brought a column, or its newest type.
    pub(in super::super) fn origin(&self, column: &str) -> Option<String> {
        self.lock().followed.origin(column).map(str::to_owned)
    }

    /// A panic elsewhere leaves it as good as it was: entries go in whole.
    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The texts that a schema refers to, each once, after those that it refers to itself.
fn collect<'a>(schema: &'a RegisteredSchema, seen: &mut BTreeSet<u32>, texts: &mut Vec<&'a str>) {
    for reference in &schema.references {
        if seen.insert(reference.schema.id) {
            collect(&reference.schema, seen, texts);
            texts.push(&reference.schema.text);
        }
    }
}

/// The row that Debezium's envelopes hold as `before` and `after`.
fn row_of_envelope(envelope: &Row) -> Result<Row, String> {
    let part = |name: &str| {
        let field = envelope.record.field(name)?;
        match field.of.shape() {
            Shape::One(Type::Record(record)) => Some(record.clone()),
            _ => None,
        }
    };
    let none = || {
        "no record in a field `after`: not Debezium's envelope (if Debezium unwraps its events, they are plain Avro)"
            .to_owned()
    };
    let after = part("after").ok_or_else(none)?;
    let record = match part("before") {
        Some(before) if before != after => {
            merge(&after, &before).map_err(|conflict| conflict.to_string())?
        }
        _ => after,
    };
    Ok(Row { record, is_record: true })
}

/// The columns of all that was followed, and what is new in them for who knew these.
pub(super) fn news(known: &[Field], merged: &Row) -> Option<String> {
    let fields = columns(&merged.record).expect("they were made when it was followed");
    (known != fields).then(|| changes::describe(known, &fields))
}
