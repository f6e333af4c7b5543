//! A schema's parsing canonical form and its fingerprint, by which a single object names its schema.
//!
//! `apache_avro` has both, and keeps logical types' `precision`, `scale` and braces in the form, which the specification
//! drops (rules [STRIP] and [PRIMITIVE]): its fingerprints of such schemas are not those that writers in Java and Python
//! use.

use std::fmt::{Display, Write};

use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Schema, UuidSchema};

/// CRC-64-AVRO of the canonical form.
pub(super) fn fingerprint(schema: &Schema) -> u64 {
    let mut form = String::new();
    canonical(schema, &mut form);
    crc_64(form.as_bytes())
}

/// The fingerprint of no bytes, and the polynomial.
const EMPTY: u64 = 0xC15D_213A_A4D7_A795;

fn crc_64(bytes: &[u8]) -> u64 {
    let step = |crc: u64, _| (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg());
    bytes.iter().fold(EMPTY, |crc, byte| {
        let low = (crc ^ u64::from(*byte)) & 0xFF;
        (crc >> 8) ^ (0..8).fold(low, step)
    })
}

fn canonical(schema: &Schema, out: &mut String) {
    match schema {
        Schema::Array(array) => {
            out.push_str(r#"{"type":"array","items":"#);
            canonical(&array.items, out);
            out.push('}');
        }
        Schema::Map(map) => {
            out.push_str(r#"{"type":"map","values":"#);
            canonical(&map.types, out);
            out.push('}');
        }
        Schema::Union(union) => list(union.variants(), out, canonical),
        Schema::Record(record) => {
            write(out, format_args!(r#"{{"name":"{}","type":"record","fields":"#, record.name));
            list(&record.fields, out, |field, out| {
                write(out, format_args!(r#"{{"name":"{}","type":"#, field.name));
                canonical(&field.schema, out);
                out.push('}');
            });
            out.push('}');
        }
        Schema::Enum(of) => {
            write(out, format_args!(r#"{{"name":"{}","type":"enum","symbols":"#, of.name));
            list(&of.symbols, out, |symbol, out| write(out, format_args!("\"{symbol}\"")));
            out.push('}');
        }
        Schema::Fixed(fixed)
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. })
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Duration(fixed) => {
            let (name, size) = (&fixed.name, fixed.size);
            write(out, format_args!(r#"{{"name":"{name}","type":"fixed","size":{size}}}"#));
        }
        Schema::Ref { name } => write(out, format_args!("\"{name}\"")),
        primitive => write(out, format_args!("\"{}\"", primitive_name(primitive))),
    }
}

fn primitive_name(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "boolean",
        Schema::Int | Schema::Date | Schema::TimeMillis => "int",
        Schema::Float => "float",
        Schema::Double => "double",
        Schema::Bytes
        | Schema::Decimal(_)
        | Schema::BigDecimal
        | Schema::Uuid(UuidSchema::Bytes) => "bytes",
        Schema::String | Schema::Uuid(_) => "string",
        // All other logical types lie on it.
        _ => "long",
    }
}

fn list<T>(items: &[T], out: &mut String, item: impl Fn(&T, &mut String)) {
    out.push('[');
    for (index, one) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        item(one, out);
    }
    out.push(']');
}

/// Names and symbols are ASCII letters, digits and underscores, so nothing is escaped.
fn write(out: &mut String, what: impl Display) {
    write!(out, "{what}").expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms are by the specification's rules; fingerprints as fastavro 1.13 gives them.
    #[test]
    fn canonical_forms_and_fingerprints() {
        for (text, form, fingerprint) in [
            (r#"{"type": "int"}"#, r#""int""#, 0x7275_d51a_3f39_5c8f_u64),
            (
                r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#,
                r#""bytes""#,
                0x4fc0_16da_c320_1965,
            ),
            (
                r#"{"type": "record", "doc": "x", "name": "R", "namespace": "a.b", "aliases": ["S"], "fields": [
                    {"default": 1, "type": ["null", {"logicalType": "date", "type": "int"}], "name": "f", "order": "ignore"},
                    {"name": "g", "type": {"size": 16, "type": "fixed", "name": "F", "logicalType": "uuid"}},
                    {"name": "h", "type": {"type": "map", "values": "F"}},
                    {"name": "e", "type": {"type": "enum", "name": "c.E", "symbols": ["X", "Y"], "default": "X"}},
                    {"name": "a", "type": {"type": "array", "items": {"type": "c.E"}}}]}"#,
                r#"{"name":"a.b.R","type":"record","fields":[{"name":"f","type":["null","int"]},{"name":"g","type":{"name":"a.b.F","type":"fixed","size":16}},{"name":"h","type":{"type":"map","values":"a.b.F"}},{"name":"e","type":{"name":"c.E","type":"enum","symbols":["X","Y"]}},{"name":"a","type":{"type":"array","items":"c.E"}}]}"#,
                0xd45c_300e_35de_ad93,
            ),
        ] {
            let schema = Schema::parse_str(text).expect("a schema");
            let mut canonical_form = String::new();
            canonical(&schema, &mut canonical_form);
            assert_eq!(canonical_form, form);
            assert_eq!(super::fingerprint(&schema), fingerprint, "{form}");
        }
    }
}
