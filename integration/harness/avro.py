"""Avro's schemas, as JSON has them, and its data."""

import io
from typing import Any

import fastavro

Schema = Any


def record(name: str, fields: dict[str, Schema], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """A record of these fields; those in `defaults` have one. What stands before a dot is the namespace."""
    namespace, _, short = name.rpartition(".")
    listed = [{"name": field, "type": of} for field, of in fields.items()]
    for field in listed:
        if field["name"] in (defaults or {}):
            field["default"] = defaults[field["name"]]
    schema = {"type": "record", "name": short, "fields": listed}
    return {**schema, "namespace": namespace} if namespace else schema


def kind(schema: Schema) -> str:
    """The type on the wire."""
    if isinstance(schema, list):
        return "union"
    return kind(schema["type"]) if isinstance(schema, dict) else schema


def logical(schema: Schema) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None


def datum(schema: Schema, value: Any) -> bytes:
    """The value as the schema writes it. For many values, the schema is better parsed before."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()
