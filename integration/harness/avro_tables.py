"""What Avro values look like in a Delta table: the types of columns, and values that can be compared.

Written from docs/reference/avro.md, for the tests that compare tables with fastavro.
"""

import json
import math
import struct
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import deltalake

from harness.avro import Schema, kind, logical

EPOCH = datetime(1970, 1, 1)


def members(schema: Schema) -> list[Schema] | None:
    """The types of a union that is a STRUCT; `None` for anything else."""
    if not isinstance(schema, list):
        return None
    others = [branch for branch in schema if branch != "null"]
    if len(others) < 2 or set(map(str, others)) in ({"int", "long"}, {"float", "double"}):
        return None
    return others


def one(schema: Schema) -> Schema:
    """What a type is beside null."""
    if not isinstance(schema, list):
        return schema
    others = [branch for branch in schema if branch != "null"]
    return next((wide for wide in ("long", "double") if wide in others and len(others) > 1), others[0])


_FLAT = {
    "boolean": "boolean", "int": "integer", "long": "long", "float": "float", "double": "double", "bytes": "binary",
    "fixed": "binary", "string": "string", "enum": "string",
}  # fmt: skip
_DDL = {
    "boolean": "BOOLEAN", "integer": "INT", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE",
    "binary": "BINARY", "string": "STRING", "date": "DATE", "timestamp": "TIMESTAMP", "timestamp_ntz": "TIMESTAMP_NTZ",
}  # fmt: skip


def column(schema: Schema) -> Any:
    """A column's type, every part of it nullable, as Delta's JSON has it."""
    if several := members(schema):
        return _struct({f"member{n}": branch for n, branch in enumerate(several)})
    schema = one(schema)
    meaning, of = logical(schema), kind(schema)
    if meaning == "decimal":
        return f"decimal({schema['precision']},{schema['scale']})"
    if meaning == "date":
        return "date"
    if meaning and meaning.startswith("local-timestamp"):
        return "timestamp_ntz"
    if meaning and meaning.startswith("timestamp"):
        return "timestamp"
    if meaning == "duration":
        return _struct({"months": "long", "days": "long", "milliseconds": "long"})
    if of == "record":
        return _struct({field["name"]: field["type"] for field in schema["fields"]})
    if of == "array":
        return {"type": "array", "elementType": column(schema["items"]), "containsNull": True}
    if of == "map":
        value = column(schema["values"])
        return {"type": "map", "keyType": "string", "valueType": value, "valueContainsNull": True}
    return _FLAT[of]


def _struct(fields: dict[str, Schema]) -> Any:
    listed = [{"name": name, "type": column(of), "nullable": True, "metadata": {}} for name, of in fields.items()]
    return {"type": "struct", "fields": listed}


def table_schema(fields: dict[str, Schema]) -> deltalake.Schema:
    return deltalake.Schema.from_json(json.dumps(_struct(fields)))


def ddl(of: Any) -> str:
    """The column's type as a configuration declares it."""
    if isinstance(of, str):
        return _DDL.get(of, of.upper())
    if of["type"] == "array":
        return f"ARRAY<{ddl(of['elementType'])}>"
    if of["type"] == "map":
        return f"MAP<STRING, {ddl(of['valueType'])}>"
    fields = [f"`{field['name']}`: {ddl(field['type'])}" for field in of["fields"]]
    return f"STRUCT<{', '.join(fields)}>"


def from_avro(schema: Schema, value: Any) -> Any:
    """A value as fastavro reads it, as it must stand in the column of the reader's schema."""
    if value is None:
        return None
    if several := members(schema):
        index = next(n for n, branch in enumerate(several) if _is_of(branch, value))
        return {f"member{n}": from_avro(b, value) if n == index else None for n, b in enumerate(several)}
    schema = one(schema)
    meaning, of = logical(schema), kind(schema)
    if meaning == "duration" and isinstance(value, bytes):
        return dict(zip(("months", "days", "milliseconds"), struct.unpack("<III", value), strict=True))
    if meaning and meaning.endswith("-nanos"):
        return value // 1000
    if isinstance(value, time):
        micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond
        return micros if meaning == "time-micros" else micros // 1000
    if of == "record":
        return {field["name"]: from_avro(field["type"], value[field["name"]]) for field in schema["fields"]}
    if of == "array":
        return [from_avro(schema["items"], each) for each in value]
    if of == "map":
        return {key: from_avro(schema["values"], each) for key, each in value.items()}
    if of == "float" and not isinstance(value, bool) and isinstance(value, (int, float)):
        return plain(struct.unpack("<f", struct.pack("<f", value))[0])
    if of == "string" and isinstance(value, bytes):
        return value.decode()
    if of == "bytes" and isinstance(value, str):
        # A default, which fastavro hands out as its text: the numbers of the characters are the bytes (specification,
        # Complex Types, Records: `default`).
        return value.encode("latin-1")
    return plain(value)


def from_table(schema: Schema, value: Any) -> Any:
    """A value as a table's reader has it; of a STRUCT, the fields that the schema has."""
    if value is None:
        return None
    if several := members(schema):
        return {f"member{n}": from_table(branch, value[f"member{n}"]) for n, branch in enumerate(several)}
    schema = one(schema)
    if logical(schema) == "duration":
        return value
    of = kind(schema)
    if of == "record":
        return {field["name"]: from_table(field["type"], value[field["name"]]) for field in schema["fields"]}
    if of == "array":
        return [from_table(schema["items"], each) for each in value]
    if of == "map":
        return {key: from_table(schema["values"], each) for key, each in value}
    return plain(value)


def plain(value: Any) -> Any:
    """Times as numbers, NaN equal to itself."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return (naive - EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - EPOCH.date()).days
    if isinstance(value, time):
        raise TypeError("a time of day has the unit of its schema")
    if isinstance(value, Decimal):
        return ("decimal", value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return value


def _is_of(branch: Schema, value: Any) -> bool:
    python = {
        "boolean": bool, "int": int, "long": int, "float": float, "double": float, "bytes": bytes, "string": str,
        "array": list, "record": dict,
    }[kind(branch)]  # fmt: skip
    return type(value) is python
