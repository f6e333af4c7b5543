"""Apache Kafka in KRaft mode, from its own jars: one broker, or as many as asked for.

Topics are made, grown, cut and deleted through the admin API, and each change has arrived at every broker when the
call returns. By hand: `make kafka`.
"""

import argparse
import itertools
import re
import uuid
from pathlib import Path

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from harness import places
from harness.processes import Child, free_ports
from harness.server import Part, Server, until_interrupted
from harness.waiting import wait_until

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
delete.topic.enable=true
offsets.topic.num.partitions=1
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=12582912
replica.fetch.max.bytes=12582912
replica.lag.time.max.ms=5000
broker.session.timeout.ms=6000
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=16777216
log.retention.ms=-1
file.delete.delay.ms=1000
controlled.shutdown.enable=false
"""
_SIMPLE_LOGGER = "-Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS".split()
_SIMPLE_LOGGER.append("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
_SIMPLE_LOGGER.append("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info")


class Broker(Server):
    """One node."""

    def __init__(self, folder: Path, port: int, heap: str):
        super().__init__("kafka", folder, port)
        self._heap = heap

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, heap: str, *arguments: str) -> list[str]:
        options = [f"-Xmx{heap}", "-Xms128m", "-XX:+UseSerialGC", "-Xshare:auto", *_SIMPLE_LOGGER]
        return [places.java(), *options, "-cp", places.java_class_path("kafka"), *arguments]

    def format(self, cluster_id: str) -> Child:
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.properties)]
        return Child(self._java("256m", *tool), self.folder / "format.log")

    def command(self) -> list[str]:
        return self._java(self._heap, "kafka.Kafka", str(self.properties))

    def ready(self) -> bool:
        return "Kafka Server started" in self.child.output


class Kafka(Part):
    """A cluster."""

    def __init__(self, brokers: int = 1, folder: Path | None = None, heap: str = "768m"):
        super().__init__("kafka", folder)
        ports = free_ports(2 * brokers)
        voters = ",".join(f"{n + 1}@127.0.0.1:{ports[2 * n + 1]}" for n in range(brokers))
        self.brokers = []
        for n in range(brokers):
            broker = Broker(self.folder / f"broker-{n + 1}", ports[2 * n], heap)
            text = _PROPERTIES.format(
                node=n + 1,
                voters=voters,
                port=broker.port,
                controller_port=ports[2 * n + 1],
                data=broker.folder / "data",
                replicas=brokers,
            )
            broker.properties.write_text(text)
            self.brokers.append(broker)
        self._admin: AdminClient | None = None
        self._names = itertools.count()

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(
                {"bootstrap.servers": self.bootstrap, "socket.timeout.ms": 10000, "log_level": 2}
            )
        return self._admin

    def start(self) -> None:
        cluster_id = "c2x1aWNlLWludGVncmF0aQ"  # any 16 bytes in base64
        formats = [broker.format(cluster_id) for broker in self.brokers]
        for format in formats:
            assert format.wait(60) == 0, format.describe()
        for broker in self.brokers:
            broker.launch()  # none is ready before most of them are there
        self.wait_ready()

    def wait_ready(self) -> None:
        for broker in self.brokers:
            broker.wait_ready()
        wait_until("all brokers in the metadata", lambda: self._brokers_seen() == len(self.brokers), 60)

    def _brokers_seen(self) -> int:
        try:
            return len(self.admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return 0

    def kill(self) -> None:
        self._admin = None
        for broker in self.brokers:
            broker.kill()

    # Topics

    def new_name(self, stem: str = "orders") -> str:
        """A topic name that nothing has used: `orders-3f2a-1`."""
        return f"{re.sub('[^a-z0-9]+', '-', stem.lower())}-{uuid.uuid4().hex[:4]}-{next(self._names)}"

    def create_topic(self, name: str, partitions: int = 4, replicas: int | None = None, **config: object) -> str:
        """`config` in Python's spelling: `cleanup_policy="compact"`."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        factor = replicas or len(self.brokers)
        topic = NewTopic(name, num_partitions=partitions, replication_factor=factor, config=settings)
        self._settle(self.admin.create_topics([topic]))
        self._wait_partitions(name, partitions)
        return name

    def add_partitions(self, name: str, total: int) -> None:
        self._settle(self.admin.create_partitions([NewPartitions(name, total)]))
        self._wait_partitions(name, total)

    def delete_topic(self, name: str) -> None:
        self._settle(self.admin.delete_topics([name], operation_timeout=30))
        wait_until(f"{name} to be gone", lambda: self.partitions(name) == 0, 30)

    def recreate_topic(self, name: str, partitions: int = 4, **config: object) -> None:
        """Deletes it and makes it anew: another topic id under the same name."""
        self.delete_topic(name)

        def created() -> bool:
            try:
                self.create_topic(name, partitions, **config)
                return True
            except KafkaException:  # the old one's log folder may not be gone yet
                return False

        wait_until(f"{name} to be made anew", created, 30, every=0.2)

    def delete_records(self, name: str, before: dict[int, int]) -> None:
        """What retention does: partition → the new first offset."""
        offsets = [TopicPartition(name, partition, offset) for partition, offset in before.items()]
        self._settle(self.admin.delete_records(offsets))

    def _settle(self, futures: dict) -> None:
        for future in futures.values():
            future.result(30)

    def partitions(self, name: str) -> int:
        topic = self.admin.list_topics(timeout=10).topics.get(name)
        return len(topic.partitions) if topic and topic.error is None else 0

    def _wait_partitions(self, name: str, count: int) -> None:
        def led() -> bool:
            topic = self.admin.list_topics(timeout=10).topics.get(name)
            found = list(topic.partitions.values()) if topic and topic.error is None else []
            return len(found) == count and all(p.leader > 0 and p.error is None for p in found)

        wait_until(f"{count} partitions of {name} with a leader", led, 30)
        # The metadata is ahead of the broker that they name; a command that asks once would be told that it leads not.
        self._list_offsets([TopicPartition(name, partition) for partition in range(count)], OffsetSpec.latest())

    def leader(self, name: str, partition: int) -> Broker:
        node = self.admin.list_topics(timeout=10).topics[name].partitions[partition].leader
        return self.brokers[node - 1]

    def watermarks(self, name: str) -> dict[int, tuple[int, int]]:
        """Partition → its first offset and the one after its last stable one."""
        places = [TopicPartition(name, partition) for partition in range(self.partitions(name))]
        if not places:
            return {}
        firsts = self._list_offsets(places, OffsetSpec.earliest())
        ends = self._list_offsets(places, OffsetSpec.latest())
        return {partition: (firsts[partition], ends[partition]) for partition in sorted(ends)}

    def _list_offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        def listed() -> dict[int, int] | None:
            level = IsolationLevel.READ_COMMITTED
            answers = self.admin.list_offsets({place: spec for place in places}, isolation_level=level)
            try:
                return {place.partition: answer.result(10).offset for place, answer in answers.items()}
            except KafkaException:  # a leader has just changed, or the topic is seconds old
                return None

        return wait_until(f"offsets of {places[0].topic}", listed, 30)

    def committed(self, group: str, name: str) -> dict[int, int]:
        """Partition → the offset that a consumer group has published."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            asked = [TopicPartition(name, partition) for partition in range(self.partitions(name))]
            return {each.partition: each.offset for each in consumer.committed(asked, timeout=10) if each.offset >= 0}
        finally:
            consumer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Starts Kafka and keeps it until Ctrl-C.")
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--topic", default="orders")
    parser.add_argument("--partitions", type=int, default=4)
    asked = parser.parse_args()
    with Kafka(asked.brokers) as kafka:
        kafka.create_topic(asked.topic, asked.partitions)
        until_interrupted(
            f"brokers: [{kafka.bootstrap}]   topic: {asked.topic}, {asked.partitions} partitions",
            "produce a million orders (in integration/):",
            f"  {places.part('venv')}/bin/python -m harness.producers {kafka.bootstrap} {asked.topic} 1000000",
            "or one by hand:",
            f"  java -cp '{places.java_class_path('kafka')}' org.apache.kafka.tools.ConsoleProducer \\",
            f"    --bootstrap-server {kafka.bootstrap} --topic {asked.topic}",
        )


if __name__ == "__main__":
    main()
