//! Which fields and types of two schemas belong together: Avro's rules of schema resolution.

use std::sync::Arc;

use super::schema::{Encoding, RecordField, Type};

/// For each of these names, with others that it also goes by, the field that belongs to it: the one of that name; else
/// one that has one of the others; else one that goes by the name itself. No field belongs to two.
pub(super) fn counterparts<'a>(
    names: impl Iterator<Item = (&'a str, &'a [Arc<str>])> + Clone,
    fields: &[RecordField],
) -> Vec<Option<usize>> {
    let named = |name: &str| fields.iter().position(|field| *field.name == *name);
    let mut found: Vec<Option<usize>> = names.clone().map(|(name, _)| named(name)).collect();
    for (place, (name, aliases)) in names.enumerate() {
        if found[place].is_some() {
            continue;
        }
        let other = aliases.iter().find_map(|alias| named(alias)).or_else(|| {
            let is_name = |alias: &Arc<str>| **alias == *name;
            fields.iter().position(|field| field.aliases.iter().any(is_name))
        });
        found[place] = other.filter(|other| !found.contains(&Some(*other)));
    }
    found
}

/// The type of a reader's union that a writer's type is read as: of its own kind and name, of its own kind and the
/// name without namespace or an alias, or the first that it can be promoted to.
pub(super) fn branch_for(writer: &Type, reader: &[&Type]) -> Option<usize> {
    let same = |reader: &&&Type| same_type(writer, reader);
    let full = |reader: &&Type| writer.name().map(|n| &n.full) == reader.name().map(|n| &n.full);
    let matching = || reader.iter().enumerate().filter(|(_, reader)| same(reader));
    matching()
        .find(|(_, reader)| full(reader))
        .or_else(|| matching().next())
        .map(|(index, _)| index)
        .or_else(|| reader.iter().position(|reader| promotes(writer.encoding(), reader.encoding())))
}

/// Whether two types are of one kind, and of names that match.
pub(super) fn same_type(writer: &Type, reader: &Type) -> bool {
    let names = match (writer.name(), reader.name()) {
        (Some(writer), Some(reader)) => reader.reads(writer),
        _ => true,
    };
    writer.encoding() == reader.encoding() && names
}

fn promotes(writer: Encoding, reader: Encoding) -> bool {
    matches!(
        (writer, reader),
        (Encoding::Int, Encoding::Long | Encoding::Float | Encoding::Double)
            | (Encoding::Long, Encoding::Float | Encoding::Double)
            | (Encoding::Float, Encoding::Double)
            | (Encoding::String, Encoding::Bytes)
            | (Encoding::Bytes, Encoding::String)
    )
}

/// A plain number or plain bytes are what the reader's logical type makes of them.
pub(super) fn with_meaning<'a>(writer: &Type, reader: &'a Type) -> Option<&'a Type> {
    let plain = !writer.has_meaning() && reader.has_meaning();
    // An int that became a long; it lies on the wire as one.
    let promoted = writer.encoding() == Encoding::Int && reader.encoding() == Encoding::Long;
    (plain && (writer.lies_like(reader) || promoted)).then_some(reader)
}
