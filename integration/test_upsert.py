"""Tables merged into by key: changes with SIGKILLs and other writers in between equal a plain dictionary."""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from conftest import Connector, Lake
from harness import producers
from harness.background import Background
from harness.kafka import Kafka
from harness.kills import kill_at_random
from harness.readers import Duck, by_path, delta_rs, polars_frame, scan, spark_rows
from harness.sluice import CONFIGURATION, CONTINUOUS, DATA_REFUSED, NEGATIVE_FINDING, Sluice, wait_caught_up

Change = tuple[int, dict[str, Any] | None]  # an id and its new values; none for a deletion

PARTITIONS = 4
SIZES = [
    pytest.param(60_000, 6_000, 12, 500, id="60k-over-6k"),
    pytest.param(2_000_000, 200_000, 25, 100_000, id="2M-over-200k", marks=pytest.mark.soak),
]
REGIONS = ("north", "south", None)
# Another writer's rows have ids below zero.
FOREIGN = 500
MOST_MEMORY = 512 << 20

SCHEMA = "id BIGINT, version BIGINT, region STRING, note STRING"


def configured(connector: Connector, topic: str, lake: Lake, **output: Any) -> Sluice:
    """An orders connector that merges by `id`; keys are JSON, so that a tombstone deletes."""
    keys = {"format": "json", "schema": "id BIGINT"}
    decode = {"value": {"format": "json", "schema": SCHEMA}, "key": {**keys, "column": "record_key"}}
    return connector(topic, lake, decode=decode, output={"mode": "upsert", "merge_key": ["id"], **output})


def changes(seed: int, count: int, keys: int) -> Iterator[Change]:
    """Half of them go to a tenth of the keys."""
    chance = random.Random(seed)
    for version in range(count):
        hot = chance.random() < 0.5
        id = chance.randrange(keys // 10) if hot else chance.randrange(keys)
        if chance.random() < 0.1:
            yield id, None
        else:
            note = f"change {version} of {id}, {chance.getrandbits(64):016x}"
            yield id, {"id": id, "version": version, "region": chance.choice(REGIONS), "note": note}


def send(kafka: Kafka, topic: str, each: Iterable[Change]) -> int:
    """Produces changes, a key always into the same partition; a retry must not put them in another order."""
    producer = producers.producer(kafka.bootstrap, compression_type="lz4", enable_idempotence=True)
    sent = 0
    for id, value in each:
        body = None if value is None else json.dumps(value).encode()
        while True:
            try:
                producer.produce(topic, key=json.dumps({"id": id}).encode(), value=body, partition=id % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
    assert producer.flush(60) == 0
    return sent


def model(*all_changes: Iterable[Change]) -> dict[int, dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for each in all_changes:
        for id, value in each:
            if value is None:
                rows.pop(id, None)
            else:
                rows[id] = value
    return rows


def assert_equal(table: str | Path, wanted: dict[int, dict[str, Any]], storage: dict[str, str] | None = None) -> None:
    """The table is the model, each key once."""
    columns = {name: [row[name] for row in wanted.values()] for name in ("id", "version", "region", "note")}
    integer, text = pyarrow.int64(), pyarrow.string()
    types = pyarrow.schema([("id", integer), ("version", integer), ("region", text), ("note", text)])
    duck = Duck(storage)
    duck.connection.register("wanted", pyarrow.table(columns, schema=types))
    duck.connection.execute(f"CREATE TABLE got AS SELECT id, version, region, note FROM {scan(table)}")
    twice = duck.rows("SELECT id, count(*) FROM got GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 5")
    missing = duck.rows("SELECT * FROM wanted EXCEPT SELECT * FROM got ORDER BY ALL LIMIT 5")
    invented = duck.rows("SELECT * FROM got EXCEPT SELECT * FROM wanted ORDER BY ALL LIMIT 5")
    assert not (twice or missing or invented), f"twice: {twice}; missing: {missing}; invented: {invented}"
    (rows,) = duck.row("SELECT count(*) FROM got")
    assert rows == len(wanted)


def foreign_rows(ids: range) -> tuple[pyarrow.Table, dict[int, dict[str, Any]]]:
    rows = {id: {"id": id, "version": -1, "region": "theirs", "note": "appended"} for id in ids}
    count = len(rows)
    table = pyarrow.table(
        {
            "id": pyarrow.array(list(ids), pyarrow.int64()),
            "version": pyarrow.array([-1] * count, pyarrow.int64()),
            "region": ["theirs"] * count,
            "note": ["appended"] * count,
            "kafka_partition": pyarrow.array([-1] * count, pyarrow.int32()),
            "kafka_offset": pyarrow.array([-1] * count, pyarrow.int64()),
        }
    )
    return table, rows


class OtherWriter(Background):
    """Compacts the table and appends to it, again and again, until stopped; most of it at the worst of times."""

    def __init__(self, table: str | Path, seed: int):
        super().__init__()
        self.table = table
        self.rows: dict[int, dict[str, Any]] = {}
        self.optimized = self.appended = self.lost = 0
        self._chance = random.Random(seed)

    def step(self) -> float:
        try:
            self._write()
        except DeltaError:
            # Lost against one of sluice's commits.
            self.lost += 1
        return self._chance.uniform(0.0, 0.2)

    def _write(self) -> None:
        first = -1 - len(self.rows)
        if self._chance.random() < 0.3 and len(self.rows) < FOREIGN:
            rows, added = foreign_rows(range(first - 9, first + 1))
            write_deltalake(str(self.table), rows, mode="append", schema_mode="merge")
            self.rows.update(added)
            self.appended += 1
        else:
            found = delta_rs(self.table).optimize.compact()
            self.optimized += found["numFilesRemoved"] > 0


@pytest.mark.parametrize(("count", "keys", "kills", "batch"), SIZES)
def test_changes_with_kills_and_other_writers_equal_the_model(
    kafka: Kafka,
    topic: str,
    local: Lake,
    connector: Connector,
    seed: int,
    count: int,
    keys: int,
    kills: int,
    batch: int,
) -> None:
    sluice = configured(connector, topic, local, files={"target_size": "4MiB"})
    sluice.write(trigger=CONTINUOUS, limits={"max_records": batch})
    log, table = local.log("orders"), local.table("orders")
    assert send(kafka, topic, changes(seed, count, keys)) == count
    # The table must be there before others write to it.
    sluice.start().wait_output("committed")
    sluice.processes[-1].kill()
    with OtherWriter(table, seed) as other:
        before_a_commit = kill_at_random(random.Random(seed), sluice, log, kills)
        process = sluice.start()
        wait_caught_up(process, log, kafka, topic, seconds=60 + count / 2_000)
    assert other.appended, "another writer's rows are part of this"
    wanted = {**model(changes(seed, count, keys)), **other.rows}
    assert_equal(table, wanted)
    # Another writer's rows are rows: they are changed and deleted as any.
    theirs = list(other.rows)
    again = [(id, None) for id in theirs[::3]] + [
        (id, {"id": id, "version": count, "region": None, "note": "ours"}) for id in theirs[1::3]
    ]
    send(kafka, topic, again)
    wait_caught_up(process, log, kafka, topic)
    peak = process.peak_memory()
    assert process.terminate() == 0
    wanted = model(wanted.items(), again)
    assert_equal(table, wanted)
    proof = sluice.verify().stdout
    deep = sluice.ask("verify", "--deep").stdout
    assert "0 keys there twice" in deep, deep
    outputs = [each.output for each in sluice.processes]
    replanned = sum(text.count("SL4021") for text in outputs)
    print(
        f"{count:,} changes over {keys:,} keys, {kills} kills ({before_a_commit} before that process had committed), "
        f"{log.version()} versions; another writer: {other.optimized} OPTIMIZE, {other.appended} appends, "
        f"{other.lost} lost races; {replanned} batches planned again; at most {peak >> 20} MiB\n{proof}"
    )
    assert peak < MOST_MEMORY


def row(id: int, version: int, region: str | None = "north") -> Change:
    return id, {"id": id, "version": version, "region": region, "note": f"{id}/{version}"}


def test_rows_move_between_partitions_and_four_readers_agree(
    kafka: Kafka, topic: str, lake: Lake, connector: Connector, spark: Any
) -> None:
    sluice = configured(connector, topic, lake, partition_by=["region"])
    first = [row(id, 0, REGIONS[id % 3]) for id in range(300)]
    send(kafka, topic, first)
    sluice.run()
    second = [row(id, 1, REGIONS[(id + 1) % 3]) for id in range(0, 300, 2)] + [(id, None) for id in range(1, 300, 10)]
    send(kafka, topic, second)
    sluice.run()
    wanted = model(first, second)
    table = lake.table("orders")
    assert_equal(table, wanted, lake.storage)
    sums = (len(wanted), sum(wanted), sum(each["version"] for each in wanted.values()))
    frame = polars_frame(table, lake.storage).select("id", "version").collect()
    assert (frame.height, frame["id"].sum(), frame["version"].sum()) == sums
    rows = delta_rs(table, lake.storage).to_pyarrow_table()
    assert (rows.num_rows, sum(rows["id"].to_pylist()), sum(rows["version"].to_pylist())) == sums
    if lake.s3 is None:
        assert spark_rows(spark, f"SELECT count(*), sum(id), sum(version) FROM {by_path(table)}") == [sums]
        (last,) = spark.sql(f"DESCRIBE HISTORY {by_path(table)} LIMIT 1").collect()
        assert (last["operation"], last["isBlindAppend"]) == ("MERGE", False)
        # Of the 30 deletions, each of a key with an odd id that is there.
        updated, deleted = (last["operationMetrics"][f"numTargetRows{what}"] for what in ("Updated", "Deleted"))
        assert (updated, deleted) == ("150", "30")
    sluice.verify("--deep")


def test_rows_that_spark_deleted_by_vector_stay_deleted(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark: Any
) -> None:
    sluice = configured(connector, topic, local)
    send(kafka, topic, (row(id, 0) for id in range(1_000)))
    sluice.run()
    table = local.table("orders")
    spark.sql(f"ALTER TABLE {by_path(table)} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark_rows(spark, f"DELETE FROM {by_path(table)} WHERE id % 10 = 3")
    commit = local.log("orders").commits()[-1]
    assert any("deletionVector" in add for add in commit.of("add")), "Spark wrote no deletion vector"
    # A key that Spark deleted comes back by a change of its own only.
    second = [row(id, 1) for id in range(0, 1_000, 7)]
    send(kafka, topic, second)
    sluice.run()
    wanted = model((row(id, 0) for id in range(1_000) if id % 10 != 3), second)
    assert_equal(table, wanted)
    (spark_sum,) = spark_rows(spark, f"SELECT count(*), sum(id) FROM {by_path(table)}")
    assert spark_sum == (len(wanted), sum(wanted))
    # Spark compacts, deletes again and merges; sluice goes on from there.
    spark_rows(spark, f"OPTIMIZE {by_path(table)}")
    spark_rows(spark, f"MERGE INTO {by_path(table)} t USING (SELECT 5 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE")
    send(kafka, topic, [row(6, 2), row(5_000, 2)])
    sluice.run()
    wanted.pop(5)
    wanted.update([row(6, 2), row(5_000, 2)])
    assert_equal(table, wanted)
    sluice.verify()


def test_the_first_row_of_a_key_stays(kafka: Kafka, topic: str, lake: Lake, connector: Connector) -> None:
    sluice = configured(connector, topic, lake, mode="insert_new")
    sluice.write(limits={"max_records": 700})
    sent = [row(id % 500, n) for n, id in enumerate(range(3_000))]
    send(kafka, topic, sent)
    sluice.run()
    wanted = {id: value for id, value in reversed(sent)}
    assert_equal(lake.table("orders"), wanted, lake.storage)
    commits = lake.log("orders").commits()
    assert all(not commit.of("remove") for commit in commits)
    fates = [fates for commit in commits for p in commit.sluice.get("partitions", []) for fates in [p["fates"]]]
    assert (sum(f["rows"] for f in fates), sum(f["existing"] for f in fates)) == (500, 2_500)
    answer = sluice.verify("--deep").stdout
    assert "3,000 = 500 rows + 0 dead letters + 2,500 with an existing key" in answer, answer


def test_a_table_with_a_change_feed_is_refused(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark: Any
) -> None:
    sluice = configured(connector, topic, local)
    send(kafka, topic, [row(1, 1)])
    sluice.run()
    table, version = local.table("orders"), local.log("orders").version()
    spark.sql(f"ALTER TABLE {by_path(table)} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')")
    send(kafka, topic, [row(1, 2)])
    answer = sluice.run(code=DATA_REFUSED)
    assert "delta.enableChangeDataFeed" in answer.stderr and "insert_new" in answer.stderr
    assert local.log("orders").version() == version + 1
    check = sluice.ask("check")
    assert check.code == NEGATIVE_FINDING and "delta.enableChangeDataFeed" in check.stdout, check


def test_once_does_not_hold_a_whole_topic_in_memory(
    kafka: Kafka, topic: str, local: Lake, connector: Connector
) -> None:
    sluice = configured(connector, topic, local)
    send(kafka, topic, (row(id, 0) for id in range(100)))
    sluice.write(trigger={"mode": "once"}, limits={"max_records": 99})
    answer = sluice.run(code=CONFIGURATION)
    assert "SL5013" in answer.stderr and "available_now" in answer.stderr, answer.stderr
    sluice.write(limits={"max_records": 100})
    sluice.run()
    assert_equal(local.table("orders"), model(row(id, 0) for id in range(100)))


def test_a_streaming_reader_must_say_that_it_passes_over_changes(
    kafka: Kafka, topic: str, local: Lake, connector: Connector, spark: Any, tmp_path: Path
) -> None:
    sluice = configured(connector, topic, local)
    send(kafka, topic, (row(id, 0) for id in range(100)))
    sluice.run()
    version = local.log("orders").version()
    send(kafka, topic, [row(7, 1), row(200, 1)])
    sluice.run()

    def stream(name: str, **options: str) -> None:
        reader = spark.readStream.format("delta").option("startingVersion", str(version)).options(**options)
        checkpoint = str(tmp_path / name)
        writer = reader.load(local.table("orders")).writeStream.option("checkpointLocation", checkpoint)
        writer.trigger(availableNow=True).format("noop").start().awaitTermination()

    with pytest.raises(Exception, match="(?i)skipChangeCommits"):
        stream("plain")
    stream("skipping", skipChangeCommits="true")
