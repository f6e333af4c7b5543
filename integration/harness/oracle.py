"""What must be in the table, worked out from Kafka alone, and the comparison.

A plain consumer reads the topic as any reader with `read_committed` would; DuckDB parses the values with its own JSON
functions; a full outer join on (partition, offset) then finds a record that is missing, doubled, invented or changed.
"""

from pathlib import Path

import pyarrow
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from harness.kafka import Kafka
from harness.readers import Duck, scan

# Column → how DuckDB takes it from the JSON text `v`, by the schema of `producers.SCHEMA`.
ORDER_COLUMNS = {
    "orderId": "v->>'$.orderId'",
    "customerId": "(v->>'$.customerId')::BIGINT",
    "country": "v->>'$.country'",
    "amount": "(v->>'$.amount')::DECIMAL(18,4)",
    "price": "(v->>'$.price')::DOUBLE",
    "quantity": "(v->>'$.quantity')::INT",
    "paid": "(v->>'$.paid')::BOOLEAN",
    "event_time": "(v->>'$.event_time')::TIMESTAMPTZ",
    "note": "v->>'$.note'",
}


def records(kafka: Kafka, topic: str, isolation: str = "read_committed") -> pyarrow.Table:
    """Every record that a consumer gets now: partition, offset, value (null for a tombstone)."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "oracle",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": isolation,
            "fetch.queue.backoff.ms": 5,
            "log_level": 2,
        }
    )
    found: dict[str, list] = {"p": [], "o": [], "v": []}
    try:
        bounds = {partition: found for partition, found in kafka.watermarks(topic).items() if found[0] < found[1]}
        left = set(bounds)
        consumer.assign([TopicPartition(topic, partition, first) for partition, (first, _) in bounds.items()])
        while left:
            for message in consumer.consume(10_000, timeout=0.05):
                if message.error() is None:
                    found["p"].append(message.partition())
                    found["o"].append(message.offset())
                    found["v"].append(message.value())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(message.error())
    finally:
        consumer.close()
    schema = pyarrow.schema([("p", pyarrow.int32()), ("o", pyarrow.int64()), ("v", pyarrow.binary())])
    return pyarrow.table(found, schema=schema)


def assert_exact(
    table: str | Path,
    kafka: Kafka,
    topic: str,
    storage: dict[str, str] | None = None,
    columns: dict[str, str] = ORDER_COLUMNS,
    where: str = "true",
    expected: pyarrow.Table | None = None,
) -> int:
    """Each committed record with a value that fits `where` (over p, o, v) stands in the table once, as it was
    produced, and nothing else does. Needs `kafka_partition` and `kafka_offset`. The number of rows."""
    produced = records(kafka, topic) if expected is None else expected
    duck = Duck(storage)
    wanted = ", ".join(f'{source} AS "{name}"' for name, source in columns.items())
    duck.connection.register("produced_arrow", produced)
    duck.connection.execute(
        f"CREATE TABLE produced AS SELECT p, o, {wanted} FROM "
        f"(SELECT p, o, decode(v) AS v FROM produced_arrow WHERE v IS NOT NULL AND ({where}))"
    )
    names = ", ".join(f'"{name}"' for name in columns)
    duck.connection.execute(
        f"CREATE TABLE got AS SELECT kafka_partition AS p, kafka_offset AS o, {names} FROM {scan(table)}"
    )
    doubled = duck.rows("SELECT p, o, count(*) FROM got GROUP BY p, o HAVING count(*) > 1 ORDER BY p, o LIMIT 5")
    missing = duck.rows("SELECT p, o FROM produced ANTI JOIN got USING (p, o) ORDER BY p, o LIMIT 5")
    invented = duck.rows("SELECT p, o FROM got ANTI JOIN produced USING (p, o) ORDER BY p, o LIMIT 5")
    differs = " OR ".join(f'got."{name}" IS DISTINCT FROM produced."{name}"' for name in columns) or "false"
    changed = duck.rows(
        f"SELECT p, o, got::VARCHAR, produced::VARCHAR FROM got JOIN produced USING (p, o) WHERE {differs} LIMIT 3"
    )
    (rows,) = duck.row("SELECT count(*) FROM got")
    (wanted_rows,) = duck.row("SELECT count(*) FROM produced")
    assert not (doubled or missing or invented or changed), (
        f"{rows} rows for {wanted_rows} records; (partition, offset) twice: {doubled}; missing: {missing}; "
        f"not in the topic: {invented}; changed: {changed}"
    )
    assert rows == wanted_rows
    return rows
