//! A schema registry with Confluent's REST API, as a reader of schemas.
//!
//! Guarantees: a schema that was got once is never asked for again (ids are for ever). A call tries for a few seconds,
//! then says why not; the session's back-off goes on from there. Answers, references and times are bounded. Errors
//! hold neither credentials nor payloads.
//!
//! Does not parse schemas, register any, or remember what the newest one is.

mod error;
mod http;
mod references;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use error::RegistryError;

use crate::config::{Registry, SubjectNames};
use http::{Http, Limits, Missing};
use references::{Resolver, SchemaAnswer};

/// Registries count with a Java `int`. They answer larger ids like a path that they don't know, which would be waited
/// for.
const LARGEST_ID: u32 = i32::MAX.unsigned_abs();

/// How long an unknown id stays unknown without asking: a topic may hold thousands of records that name it, and each
/// question takes a second or two.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Unknown ids that are remembered at a time; hostile records could name four billion.
const MAX_UNKNOWN: usize = 10_000;

/// A schema as it is registered; what it refers to is resolved.
#[derive(Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    pub id: u32,
    pub kind: SchemaKind,
    pub text: String,
    pub references: Vec<Reference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    Avro,
    Json,
    Protobuf,
}

/// Another schema under the name that the text uses for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub schema: Arc<RegisteredSchema>,
}

/// Asks a registry. Clones share what is known.
#[derive(Debug, Clone)]
pub struct Client {
    http: Arc<Http>,
    known: Arc<Known>,
}

impl Client {
    /// # Errors
    /// What can't work in the configuration: `ca_file`, or a URL with credentials.
    pub fn new(spec: &Registry) -> Result<Self, RegistryError> {
        Self::with_limits(spec, Limits::default())
    }

    fn with_limits(spec: &Registry, limits: Limits) -> Result<Self, RegistryError> {
        Ok(Self { http: Arc::new(Http::new(spec, limits)?), known: Arc::default() })
    }

    /// The schema with this id, from memory if it was there before.
    ///
    /// # Errors
    /// [`RegistryError::UnknownId`] when the registry goes on denying it; [`RegistryError::Unusable`] when it has it
    /// and nobody could read by it.
    pub async fn schema_by_id(&self, id: u32) -> Result<Arc<RegisteredSchema>, RegistryError> {
        if let Some(schema) = self.known.schema(id) {
            return Ok(schema);
        }
        if id > LARGEST_ID || self.known.is_unknown(id) {
            return Err(self.unknown(id));
        }
        let path = ["schemas", "ids", &id.to_string()];
        match self.http.get::<SchemaAnswer>(&path, Missing::MayCome).await? {
            Some(answer) => self.resolve(id, answer).await,
            None => {
                self.known.add_unknown(id);
                Err(self.unknown(id))
            }
        }
    }

    /// The newest schema of a subject; `None`: there is no such subject. Asked each time.
    pub async fn latest(
        &self,
        subject: &str,
    ) -> Result<Option<Arc<RegisteredSchema>>, RegistryError> {
        self.version(subject, "latest").await
    }

    /// The numbers of a subject's versions, ascending; none: there is no such subject.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        let path = ["subjects", subject, "versions"];
        let mut versions: Vec<u32> =
            self.http.get(&path, Missing::IsFinal).await?.unwrap_or_default();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The schema that a subject has under a version's number; `None`: there is none.
    pub async fn version(
        &self,
        subject: &str,
        version: &str,
    ) -> Result<Option<Arc<RegisteredSchema>>, RegistryError> {
        let path = ["subjects", subject, "versions", version];
        let Some(answer) = self.http.get::<SchemaAnswer>(&path, Missing::IsFinal).await? else {
            return Ok(None);
        };
        let Some(id) = answer.id else {
            return Err(self.http.not_a_registry("the version has no id"));
        };
        if let Some(schema) = self.known.schema(id) {
            return Ok(Some(schema));
        }
        self.resolve(id, answer).await.map(Some)
    }

    async fn resolve(
        &self,
        id: u32,
        answer: SchemaAnswer,
    ) -> Result<Arc<RegisteredSchema>, RegistryError> {
        Resolver::new(&self.http, &self.known, id).resolve(answer).await
    }

    fn unknown(&self, id: u32) -> RegistryError {
        RegistryError::UnknownId { url: self.http.url(), id }
    }
}

/// Which subject has a topic's newest schema; `None`: only its records tell.
pub fn subject_of(names: &SubjectNames, topic: &str, is_key: bool) -> Option<String> {
    match names {
        SubjectNames::TopicName if is_key => Some(format!("{topic}-key")),
        SubjectNames::TopicName => Some(format!("{topic}-value")),
        SubjectNames::RecordName | SubjectNames::TopicRecordName => None,
        SubjectNames::Named(subject) => Some(subject.clone()),
    }
}

/// What has been learnt, by id.
#[derive(Debug, Default)]
struct Known {
    schemas: Mutex<HashMap<u32, Arc<RegisteredSchema>>>,
    unknown: Mutex<HashMap<u32, Instant>>,
}

impl Known {
    fn schema(&self, id: u32) -> Option<Arc<RegisteredSchema>> {
        lock(&self.schemas).get(&id).cloned()
    }

    /// Keeps the first of two that were asked for at once, so that there is one.
    fn add(&self, schema: RegisteredSchema) -> Arc<RegisteredSchema> {
        lock(&self.unknown).remove(&schema.id);
        let mut schemas = lock(&self.schemas);
        Arc::clone(schemas.entry(schema.id).or_insert_with(|| Arc::new(schema)))
    }

    fn is_unknown(&self, id: u32) -> bool {
        lock(&self.unknown).get(&id).is_some_and(|since| since.elapsed() < UNKNOWN_FOR)
    }

    fn add_unknown(&self, id: u32) {
        let mut unknown = lock(&self.unknown);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(id, Instant::now());
    }
}

/// A panic elsewhere leaves a map as good as it was: entries go in whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests;
