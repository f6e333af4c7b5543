"""Pairs of Avro schemas, a writer's and the reader's that it evolved into, with data of the writer's.

Everything comes from one `random.Random`, so that a failure is replayed by its seed. Types of a union are told apart by
their Python values, so that fastavro's answer says which one a value has become.
"""

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from harness.avro import Schema, kind, logical

_TIMES = (
    "timestamp-millis", "timestamp-micros", "timestamp-nanos",
    "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos",
)  # fmt: skip
_NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


@dataclass
class Pair:
    """The types of one field, and values of the first."""

    writer: Schema
    reader: Schema
    data: list[Any]


class Pairs:
    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.names = 0

    def pair(self, values: int = 3) -> Pair:
        writer = reader = None
        while writer == reader:
            writer = self.type(depth=3)
            reader = self.evolved(writer)
        return Pair(writer, reader, [self.datum(writer) for _ in range(values)])

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    # Types

    def type(self, depth: int, in_union: bool = False) -> Schema:
        choices = ["flat"] * 5 + ["logical"] * 3 + ["named"] * 2
        if depth > 0:
            choices += ["array", "map", "record", "record"] + ([] if in_union else ["optional"] * 3 + ["union"])
        choice = self.random.choice(choices)
        if choice == "flat":
            return self.random.choice(["boolean", "int", "long", "float", "double", "bytes", "string"])
        if choice == "logical":
            return self._logical()
        if choice == "named":
            return self._named()
        if choice == "array":
            return {"type": "array", "items": self.type(depth - 1)}
        if choice == "map":
            return {"type": "map", "values": self.type(depth - 1)}
        if choice == "record":
            return self._record(depth - 1)
        if choice == "optional":
            of = self.type(depth - 1, in_union=True)
            return ["null", of] if self.random.random() < 0.7 else [of, "null"]
        return self._union(depth - 1)

    def _logical(self) -> Schema:
        precision = self.random.randint(1, 20)
        scale = self.random.randint(0, precision)
        decimal = {"logicalType": "decimal", "precision": precision, "scale": scale}
        return self.random.choice(
            [
                {"type": "int", "logicalType": "date"},
                {"type": "int", "logicalType": "time-millis"},
                {"type": "long", "logicalType": "time-micros"},
                *({"type": "long", "logicalType": time} for time in _TIMES),
                {"type": "bytes", **decimal},
                {"type": "fixed", "name": self.name(), "size": 9, **decimal},
                {"type": "string", "logicalType": "uuid"},
                {"type": "fixed", "name": self.name(), "size": 12, "logicalType": "duration"},
            ]
        )

    def _named(self) -> Schema:
        if self.random.random() < 0.5:
            return {"type": "fixed", "name": self.name(), "size": self.random.randint(1, 9)}
        symbols = self.random.sample(["A", "B", "C", "D", "E"], self.random.randint(1, 4))
        return {"type": "enum", "name": self.name(), "symbols": symbols}

    def _record(self, depth: int) -> Schema:
        names = self.random.sample(_NAMES, self.random.randint(1, 4))
        fields = [{"name": name, "type": self.type(depth)} for name in names]
        return {"type": "record", "name": self.name(), "fields": fields}

    def _union(self, depth: int) -> Schema:
        """Of types whose Python values differ, and none of which could be read as another that comes before it."""
        classes = [["boolean"], ["int", "long"], ["float", "double"], ["bytes", "string"], ["null"]]
        branches = [self.random.choice(types) for types in self.random.sample(classes, self.random.randint(1, 4))]
        if self.random.random() < 0.4:
            branches.append({"type": "array", "items": self.type(depth - 1 if depth > 0 else 0)})
        if self.random.random() < 0.4 and depth > 0:
            branches.append(self._record(depth - 1))
        if branches == ["null"]:
            branches.append("int")
        return self._shuffled(branches)

    def _shuffled(self, branches: list[Schema]) -> list[Schema]:
        """A whole number's type stays before those that it could be promoted to."""
        self.random.shuffle(branches)
        numbers = [branch for branch in branches if branch in ("int", "long", "float", "double")]
        numbers.sort(key=["int", "long", "float", "double"].index)
        return [numbers.pop(0) if branch in ("int", "long", "float", "double") else branch for branch in branches]

    # Data

    def datum(self, schema: Schema) -> Any:
        if isinstance(schema, list):
            return self.datum(self.random.choice(schema))
        dice, of, meaning = self.random, kind(schema), logical(schema)
        if of == "null":
            return None
        if of == "boolean":
            return dice.random() < 0.5
        if of == "int":
            if meaning == "date":
                return dice.randint(-700_000, 2_900_000)
            if meaning == "time-millis":
                return dice.randrange(86_400_000)
            return dice.choice([0, -1, dice.randint(-(1 << 31), (1 << 31) - 1)])
        if of == "long":
            return self._long(meaning)
        if of in ("float", "double"):
            value = dice.choice([0.0, -0.5, dice.uniform(-1e6, 1e6), float("inf"), float("nan")])
            return value
        if meaning == "decimal":
            digits = dice.randrange(10 ** schema["precision"]) * dice.choice([1, -1])
            return Decimal(digits).scaleb(-schema["scale"])
        if of == "bytes":
            return dice.randbytes(dice.randrange(6))
        if meaning == "uuid":
            return "%08x-0000-4000-8000-%012x" % (dice.getrandbits(32), dice.getrandbits(48))
        if of == "string":
            return "".join(dice.choice(["a", "ß", "\N{GRINNING FACE}", '"', "\\"]) for _ in range(dice.randrange(6)))
        if of == "fixed":
            return dice.randbytes(schema["size"])
        if of == "enum":
            return dice.choice(schema["symbols"])
        if of == "array":
            return [self.datum(schema["items"]) for _ in range(dice.randrange(4))]
        if of == "map":
            return {f"k{n}": self.datum(schema["values"]) for n in range(dice.randrange(4))}
        return {field["name"]: self.datum(field["type"]) for field in schema["fields"]}

    def _long(self, meaning: str | None) -> int:
        dice = self.random
        if meaning is None:
            return dice.choice([0, -1, dice.randint(-(1 << 63), (1 << 63) - 1)])
        if meaning == "time-micros":
            return dice.randrange(86_400_000_000)
        seconds = dice.randint(-9_000_000_000, 9_000_000_000)
        unit = 10 ** {"millis": 3, "micros": 6, "nanos": 9}[meaning.rsplit("-", 1)[1]]
        return seconds * unit + dice.randrange(unit)

    # Evolution

    def evolved(self, schema: Schema) -> Schema:
        """The schema, or one that reads its data by Avro's rules."""
        dice = self.random
        if isinstance(schema, list):
            return self._evolved_union(schema)
        of, meaning = kind(schema), logical(schema)
        if dice.random() < 0.15 and of != "null":
            inner = self.evolved_branch(schema)
            return ["null", inner] if dice.random() < 0.7 else [inner, "null"]
        if meaning in ("timestamp-millis", "timestamp-micros"):
            return {"type": "long", "logicalType": dice.choice(["timestamp-millis", "timestamp-micros"])}
        if meaning:
            return schema
        if of == "int":
            return dice.choice(["int", "int", "long", "double"])
        if of == "long":
            return dice.choice(["long", "long", "double"])
        if of == "float":
            return dice.choice(["float", "double"])
        if of == "string":
            return dice.choice(["string", "string", "bytes"])
        if of == "enum":
            return self._evolved_enum(schema)
        if of == "array":
            return {**schema, "items": self.evolved(schema["items"])}
        if of == "map":
            return {**schema, "values": self.evolved(schema["values"])}
        if of == "record":
            return self._evolved_record(schema)
        return schema

    def _evolved_union(self, schema: list[Schema]) -> Schema:
        dice = self.random
        branches = list(schema)
        others = [branch for branch in branches if branch != "null"]
        if len(others) == 1:
            # A value that may be null can't become one that may not, but for those that aren't.
            return [branch if branch == "null" else self.evolved_branch(branch) for branch in branches]
        if dice.random() < 0.3:
            branches = self._shuffled(branches)
        if dice.random() < 0.3 and "null" not in branches:
            branches.append("null")
        return [branch if branch == "null" else self.evolved_branch(branch, plain=True) for branch in branches]

    def evolved_branch(self, schema: Schema, plain: bool = False) -> Schema:
        """What may stand in a union: no union. `plain`: beside others, from which it must stay different."""
        if plain and not isinstance(schema, dict):
            return schema
        for _ in range(5):
            evolved = self.evolved(schema)
            if not isinstance(evolved, list):
                return evolved
        return schema

    def _evolved_enum(self, schema: Schema) -> Schema:
        dice = self.random
        symbols = list(schema["symbols"])
        if dice.random() < 0.5:
            symbols.append("NEW")
        if dice.random() < 0.3 and len(symbols) > 1:
            # One that a writer may use has gone; the default stands in for it.
            symbols.remove(dice.choice(schema["symbols"]))
            return {**schema, "symbols": symbols, "default": symbols[0]}
        dice.shuffle(symbols)
        return {**schema, "symbols": symbols}

    def _evolved_record(self, schema: Schema) -> Schema:
        dice = self.random
        fields = []
        for field in schema["fields"]:
            fate = dice.random()
            evolved = {**field, "type": self.evolved(field["type"])}
            if fate < 0.15 and len(schema["fields"]) > 1:
                continue
            if fate < 0.3:
                evolved = {**evolved, "name": f"{field['name']}_renamed", "aliases": [field["name"]]}
            fields.append(evolved)
        if dice.random() < 0.4 or not fields:
            fields.append(self._new_field())
        if dice.random() < 0.3:
            dice.shuffle(fields)
        evolved = {**schema, "fields": fields}
        if dice.random() < 0.2:
            evolved = {**evolved, "name": self.name(), "aliases": [schema["name"]]}
        return evolved

    def _new_field(self) -> dict[str, Any]:
        """With a default, as fields that a writer lacks must have."""
        of, default = self.random.choice(
            [
                (["null", "int"], None),
                (["string", "null"], "fresh"),
                ("int", -7),
                ("long", 1 << 40),
                ("double", 0.25),
                ("boolean", True),
                ("string", "ü"),
                ("bytes", "\u00ff\u0000"),
                ({"type": "array", "items": "int"}, [1, 2]),
                ({"type": "map", "values": "string"}, {"k": "v"}),
                ({"type": "enum", "name": self.name(), "symbols": ["X", "Y"]}, "Y"),
                ({"type": "record", "name": self.name(), "fields": [{"name": "x", "type": "int"}]}, {"x": 3}),
            ]
        )
        return {"name": f"new_{self.random.choice(_NAMES)}", "type": of, "default": default}
