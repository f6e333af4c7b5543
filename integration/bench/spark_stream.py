"""Spark Structured Streaming from Kafka to Delta, `local[2]`, everything available now.

`python -m bench.spark_stream BOOTSTRAP TOPIC TABLE CHECKPOINT`.
"""

import sys
import time
from pathlib import Path

from harness.producers import SCHEMA
from harness.readers import spark_session


def main() -> None:
    bootstrap, topic, table, checkpoint = sys.argv[1:5]
    session = spark_session(warehouse=Path(checkpoint).with_name("warehouse"), memory="2g")
    started = time.monotonic()
    records = (
        session.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("kafka.isolation.level", "read_committed")
        .load()
    )
    columns = [f"from_json(CAST(value AS STRING), '{SCHEMA.replace(' NOT NULL', '')}') AS v"]
    columns += ["partition AS kafka_partition", "offset AS kafka_offset", "timestamp AS kafka_timestamp"]
    rows = records.selectExpr(*columns).select("v.*", "kafka_partition", "kafka_offset", "kafka_timestamp")
    query = (
        rows.writeStream.format("delta")
        .outputMode("append")
        .option("checkpointLocation", checkpoint)
        .trigger(availableNow=True)
        .start(table)
    )
    query.awaitTermination()
    print(f"busy_seconds {time.monotonic() - started:.2f}")
    session.stop()


if __name__ == "__main__":
    main()
