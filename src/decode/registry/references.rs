//! A registry's answer with everything that it refers to.
//!
//! References name a subject and a version, and may refer on. Each version is asked for once per schema, however many
//! ways lead to it; cycles, depth, number and bytes are bounded, for whoever can register a schema could else keep the
//! connector busy for ever.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use serde::Deserialize;

use super::http::{Http, Missing};
use super::{Known, Reference, RegisteredSchema, RegistryError, SchemaKind};

/// Deeper than anybody nests schemas, shallow enough for the stack.
const MAX_DEPTH: usize = 32;

/// Different schemas that one may refer to, directly or not.
const MAX_REFERENCES: usize = 1_000;

/// Text of a schema and all that it refers to.
const MAX_BYTES: usize = 32 << 20;

/// What `/schemas/ids/{id}` and `/subjects/{subject}/versions/{version}` answer.
#[derive(Debug, Deserialize)]
pub(super) struct SchemaAnswer {
    /// Of the second path only.
    pub id: Option<u32>,
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    references: Option<Vec<ReferenceAnswer>>,
}

#[derive(Debug, Deserialize)]
struct ReferenceAnswer {
    name: String,
    subject: String,
    version: i64,
}

type Version = (String, i64);

/// Follows the references of one schema.
pub(super) struct Resolver<'a> {
    http: &'a Http,
    known: &'a Known,
    /// The schema that was asked for: errors are about it.
    root: u32,
    resolved: HashMap<Version, Arc<RegisteredSchema>>,
    /// From the root to where we are.
    trail: Vec<Version>,
    bytes: usize,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(http: &'a Http, known: &'a Known, root: u32) -> Self {
        Self { http, known, root, resolved: HashMap::new(), trail: Vec::new(), bytes: 0 }
    }

    pub(super) async fn resolve(
        mut self,
        answer: SchemaAnswer,
    ) -> Result<Arc<RegisteredSchema>, RegistryError> {
        self.schema(self.root, answer).await
    }

    async fn schema(
        &mut self,
        id: u32,
        answer: SchemaAnswer,
    ) -> Result<Arc<RegisteredSchema>, RegistryError> {
        self.bytes = self.bytes.saturating_add(answer.schema.len());
        if self.bytes > MAX_BYTES {
            return Err(
                self.unusable(format!("with its references it is larger than {MAX_BYTES} bytes"))
            );
        }
        let kind = self.kind(answer.kind.as_deref())?;
        let mut references = Vec::new();
        for reference in answer.references.unwrap_or_default() {
            let schema = self.follow(&reference).await?;
            references.push(Reference { name: reference.name, schema });
        }
        Ok(self.known.add(RegisteredSchema { id, kind, text: answer.schema, references }))
    }

    /// Boxed, for it leads back here.
    fn follow<'s>(
        &'s mut self,
        to: &'s ReferenceAnswer,
    ) -> BoxFuture<'s, Result<Arc<RegisteredSchema>, RegistryError>> {
        async move {
            let version: Version = (to.subject.clone(), to.version);
            if let Some(schema) = self.resolved.get(&version) {
                return Ok(Arc::clone(schema));
            }
            self.check(&version)?;
            let number = to.version.to_string();
            let path = ["subjects", &to.subject, "versions", &number];
            let Some(answer) = self.http.get::<SchemaAnswer>(&path, Missing::MayCome).await? else {
                let (subject, version) = version;
                return Err(self.unusable(format!(
                    "it refers to version {version} of `{subject}`, which the registry does not have"
                )));
            };
            let Some(id) = answer.id else {
                return Err(self.http.not_a_registry("a version has no id"));
            };
            let schema = match self.known.schema(id) {
                Some(schema) => schema,
                None => {
                    self.trail.push(version.clone());
                    let schema = self.schema(id, answer).await?;
                    self.trail.pop();
                    schema
                }
            };
            self.resolved.insert(version, Arc::clone(&schema));
            Ok(schema)
        }
        .boxed()
    }

    fn check(&self, version: &Version) -> Result<(), RegistryError> {
        let reason = if self.trail.contains(version) {
            format!("its references lead in a circle, by version {} of `{}`", version.1, version.0)
        } else if self.trail.len() >= MAX_DEPTH {
            format!("its references are nested deeper than {MAX_DEPTH}")
        } else if self.resolved.len() + self.trail.len() >= MAX_REFERENCES {
            format!("it refers to more than {MAX_REFERENCES} schemas")
        } else {
            return Ok(());
        };
        Err(self.unusable(reason))
    }

    fn kind(&self, name: Option<&str>) -> Result<SchemaKind, RegistryError> {
        match name {
            None | Some("AVRO") => Ok(SchemaKind::Avro),
            Some("JSON") => Ok(SchemaKind::Json),
            Some("PROTOBUF") => Ok(SchemaKind::Protobuf),
            Some(_) => Err(self.unusable("it is neither AVRO nor JSON nor PROTOBUF".into())),
        }
    }

    fn unusable(&self, reason: String) -> RegistryError {
        RegistryError::Unusable { id: self.root, reason }
    }
}
