//! The text of a schema into types. `apache_avro` reads the text: names and namespaces, aliases, references, defaults,
//! logical types, and whether all that is valid. What comes out has no references left, so it can't be recursive.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use apache_avro::schema::{
    DecimalSchema, EnumSchema, FixedSchema, InnerDecimalSchema, Name as AvroName, RecordSchema,
    Schema, UuidSchema,
};
use thiserror::Error;

use super::canonical::fingerprint;
use super::names::Name;
use super::schema::{Enum, Fixed, Items, Record, RecordField, Type, Unit};

/// How deep types may nest, unions included.
const MAX_DEPTH: usize = 64;

/// Types in one schema, those behind a name counted wherever it is used: a few names that use each other twice can
/// stand for more than any memory holds.
const MAX_TYPES: usize = 20_000;

/// A schema that records were written with.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) of: Type,
    /// CRC-64-AVRO of its canonical form; `None` where it uses types of other schemas.
    pub(super) fingerprint: Option<u64>,
}

/// Why a text is no schema that can be read. Paths have dots.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum SchemaError {
    #[error("not a valid Avro schema: {0}")]
    Invalid(String),
    #[error("`{path}` refers to `{name}`, which nothing defines")]
    Undefined { path: String, name: String },
    #[error("the type `{name}` is defined twice")]
    DefinedTwice { name: String },
    #[error(
        "`{name}` contains itself (at `{path}`): a table has no type for that, so recursive schemas are refused"
    )]
    Recursive { name: String, path: String },
    #[error("`{path}` is nested deeper than {MAX_DEPTH} levels")]
    TooDeep { path: String },
    #[error("more than {MAX_TYPES} types, those behind a name counted wherever it is used")]
    TooLarge,
    #[error("`{path}` is a union of nothing, which no value has")]
    EmptyUnion { path: String },
}

/// Reads a schema that uses types of other schemas.
pub(super) fn parse(text: &str, references: &[&str]) -> Result<Parsed, SchemaError> {
    let invalid = |error: apache_avro::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        SchemaError::Invalid(format!("{error}{}", cause.unwrap_or_default()))
    };
    let (schema, others) = Schema::parse_str_with_list(text, references).map_err(invalid)?;
    let mut names = HashMap::new();
    for schema in others.iter().chain([&schema]) {
        collect(schema, &mut names)?;
    }
    let names = names.into_iter().collect();
    let mut resolver = Resolver { names, open: Vec::new(), path: Vec::new(), types: 0 };
    let of = resolver.resolve(&schema, 0)?;
    let fingerprint = references.is_empty().then(|| fingerprint(&schema));
    Ok(Parsed { of, fingerprint })
}

type Names<'a> = HashMap<AvroName, &'a Schema>;

/// Finds what is defined, aliases included, for a reference may be by one.
fn collect<'a>(schema: &'a Schema, names: &mut Names<'a>) -> Result<(), SchemaError> {
    match schema {
        Schema::Array(array) => return collect(&array.items, names),
        Schema::Map(map) => return collect(&map.types, names),
        Schema::Union(union) => {
            return union.variants().iter().try_for_each(|branch| collect(branch, names));
        }
        Schema::Ref { .. } => return Ok(()),
        _ => {}
    }
    let Some(name) = schema.name() else { return Ok(()) };
    match names.entry(name.clone()) {
        Entry::Vacant(vacant) => {
            vacant.insert(schema);
        }
        // A referenced schema on a fixed comes once by itself and once where it is used.
        Entry::Occupied(known) if fixed(known.get()).is_some() && fixed(schema).is_some() => {}
        Entry::Occupied(_) => return Err(SchemaError::DefinedTwice { name: name.to_string() }),
    }
    for alias in schema.aliases().into_iter().flatten() {
        let alias = alias.fully_qualified_name(name.namespace()).into_owned();
        names.entry(alias).or_insert(schema);
    }
    match schema {
        Schema::Record(record) => record.fields.iter().try_for_each(|f| collect(&f.schema, names)),
        _ => Ok(()),
    }
}

fn fixed(schema: &Schema) -> Option<&FixedSchema> {
    match schema {
        Schema::Fixed(fixed)
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. })
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Duration(fixed) => Some(fixed),
        _ => None,
    }
}

struct Resolver<'a> {
    names: Names<'a>,
    /// The records that the schema at hand is inside of.
    open: Vec<AvroName>,
    path: Vec<String>,
    types: usize,
}

impl Resolver<'_> {
    fn resolve(&mut self, schema: &Schema, depth: usize) -> Result<Type, SchemaError> {
        self.types += 1;
        if self.types > MAX_TYPES {
            return Err(SchemaError::TooLarge);
        }
        if depth >= MAX_DEPTH {
            return Err(SchemaError::TooDeep { path: self.path() });
        }
        Ok(match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Boolean,
            Schema::Int => Type::Int,
            Schema::Long => Type::Long,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            // A big decimal has a scale of its own in each value, which no column has.
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Type::Bytes,
            Schema::String => Type::String,
            Schema::Array(array) => Type::Array(self.items(&array.items, depth)?),
            Schema::Map(map) => Type::Map(self.items(&map.types, depth)?),
            Schema::Union(union) => self.union(union.variants(), depth)?,
            Schema::Record(record) => self.record(record, depth)?,
            Schema::Enum(of) => Type::Enum(enumeration(of)),
            Schema::Fixed(fixed) => Type::Fixed(fixed_type(fixed)),
            Schema::Decimal(decimal) => decimal_type(decimal),
            Schema::Uuid(UuidSchema::String) => Type::Uuid(None),
            Schema::Uuid(UuidSchema::Fixed(fixed)) => Type::Uuid(Some(fixed_type(fixed))),
            Schema::Date => Type::Date,
            Schema::TimeMillis => Type::TimeMillis,
            Schema::TimeMicros => Type::TimeMicros,
            Schema::TimestampMillis => Type::Timestamp { unit: Unit::Millis, local: false },
            Schema::TimestampMicros => Type::Timestamp { unit: Unit::Micros, local: false },
            Schema::TimestampNanos => Type::Timestamp { unit: Unit::Nanos, local: false },
            Schema::LocalTimestampMillis => Type::Timestamp { unit: Unit::Millis, local: true },
            Schema::LocalTimestampMicros => Type::Timestamp { unit: Unit::Micros, local: true },
            Schema::LocalTimestampNanos => Type::Timestamp { unit: Unit::Nanos, local: true },
            Schema::Duration(fixed) => Type::Duration(fixed_type(fixed)),
            Schema::Ref { name } => {
                let Some(&schema) = self.names.get(name) else {
                    return Err(SchemaError::Undefined {
                        path: self.path(),
                        name: name.to_string(),
                    });
                };
                self.resolve(schema, depth)?
            }
        })
    }

    fn items(&mut self, schema: &Schema, depth: usize) -> Result<Items, SchemaError> {
        Ok(Items::new(self.resolve(schema, depth + 1)?))
    }

    fn union(&mut self, branches: &[Schema], depth: usize) -> Result<Type, SchemaError> {
        if branches.is_empty() {
            return Err(SchemaError::EmptyUnion { path: self.path() });
        }
        let branches = branches.iter().map(|branch| self.resolve(branch, depth + 1));
        Ok(Type::Union(branches.collect::<Result<_, _>>()?))
    }

    fn record(&mut self, record: &RecordSchema, depth: usize) -> Result<Type, SchemaError> {
        if self.open.contains(&record.name) {
            let (name, path) = (record.name.to_string(), self.path());
            return Err(SchemaError::Recursive { name, path });
        }
        self.open.push(record.name.clone());
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            self.path.push(field.name.clone());
            fields.push(RecordField {
                name: field.name.as_str().into(),
                aliases: field.aliases.iter().map(|alias| alias.as_str().into()).collect(),
                default: field.default.clone(),
                of: self.resolve(&field.schema, depth + 1)?,
            });
            self.path.pop();
        }
        self.open.pop();
        let aliases = record.aliases.as_deref().unwrap_or_default();
        Ok(Type::Record(Record { name: name(&record.name, aliases), fields }))
    }

    fn path(&self) -> String {
        if self.path.is_empty() { "value".into() } else { self.path.join(".") }
    }
}

fn decimal_type(decimal: &DecimalSchema) -> Type {
    Type::Decimal {
        precision: decimal.precision,
        scale: decimal.scale,
        fixed: match &decimal.inner {
            InnerDecimalSchema::Bytes => None,
            InnerDecimalSchema::Fixed(fixed) => Some(fixed_type(fixed)),
        },
    }
}

fn enumeration(of: &EnumSchema) -> Enum {
    Enum {
        name: name(&of.name, of.aliases.as_deref().unwrap_or_default()),
        symbols: of.symbols.iter().map(|symbol| symbol.as_str().into()).collect(),
    }
}

fn fixed_type(fixed: &FixedSchema) -> Fixed {
    let aliases = fixed.aliases.as_deref().unwrap_or_default();
    Fixed { name: name(&fixed.name, aliases), size: fixed.size }
}

fn name(name: &AvroName, aliases: &[apache_avro::schema::Alias]) -> Name {
    let full = |alias: &apache_avro::schema::Alias| {
        Arc::from(alias.fully_qualified_name(name.namespace()).to_string())
    };
    Name { full: name.to_string().into(), aliases: aliases.iter().map(full).collect() }
}
