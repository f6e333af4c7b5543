"""Many topics through one process: memory stays bounded, and each table is right."""

import json

import pytest

from conftest import Connector, Lake
from harness import producers
from harness.kafka import Kafka
from harness.readers import Duck, scan
from harness.sluice import CONTINUOUS
from harness.waiting import wait_until

# How many, and the records of each that wait when it starts, and again while it runs.
TOPICS = [pytest.param(40, 2_000, id="40"), pytest.param(200, 10_000, id="200", marks=pytest.mark.soak)]
PARTITIONS = 2
MOST_MEMORY = 512 << 20


@pytest.mark.parametrize(("topics", "records"), TOPICS)
def test_many_topics_through_one_process(
    kafka: Kafka, local: Lake, connector: Connector, topics: int, records: int
) -> None:
    stem = kafka.new_name("many")
    names = [f"{stem}.{n:03}" for n in range(topics)]
    for n, name in enumerate(names):
        kafka.create_topic(name, PARTITIONS)
        producers.orders(kafka.bootstrap, name, n * records, records, PARTITIONS)
    sluice = connector(
        names,
        local,
        source={"brokers": [kafka.bootstrap], "topic_pattern": f"{stem}\\..*"},
        trigger=CONTINUOUS,
        outputs={"raw": {"table": local.table("{topic}")}},
    )
    process = sluice.start()

    def written(half: int) -> bool:
        assert process.running(), process.describe()
        return all(sum(local.log(name).offsets(name).values()) == half * records for name in names)

    wait_until("each topic's first records to be written", lambda: written(1), 60 + topics, every=0.5)
    # Now all of them at once, while it runs.
    for n, name in enumerate(names):
        producers.orders(kafka.bootstrap, name, (topics + n) * records, records, PARTITIONS)
    wait_until("each topic's other records to be written", lambda: written(2), 60 + topics, every=0.5)
    peak = process.peak_memory()
    assert process.terminate() == 0, process.describe()
    print(f"{topics} topics, {topics * PARTITIONS} partitions: at most {peak / 2**20:.0f} MiB")
    assert peak < MOST_MEMORY

    duck = Duck()
    for n, name in enumerate(names):
        numbers = [*range(n * records, (n + 1) * records), *range((topics + n) * records, (topics + n + 1) * records)]
        count, distinct, customers, first, places = duck.row(
            "SELECT count(*), count(DISTINCT orderId), sum(customerId), min(orderId), "
            f"count(DISTINCT (kafka_partition, kafka_offset)) FROM {scan(local.table(name))}"
        )
        assert (count, distinct, places) == (len(numbers),) * 3, name
        assert customers == sum(map(producers.customer, numbers)), name
        assert first == json.loads(producers.order(numbers[0]))["orderId"], name
    sluice.verify()
