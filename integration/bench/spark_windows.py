"""Orders per minute and country by Spark Structured Streaming, `local[2]`, everything available now.

`python -m bench.spark_windows BOOTSTRAP TOPIC TABLE CHECKPOINT`.
"""

import sys
import time
from pathlib import Path

from bench.windows import ASKED
from harness import spark_windows
from harness.readers import spark_session


def main() -> None:
    bootstrap, topic, table, checkpoint = sys.argv[1:5]
    session = spark_session(warehouse=Path(checkpoint).with_name("warehouse"), memory="2g")
    started = time.monotonic()
    query = spark_windows.start(session, bootstrap, topic, ASKED, table, Path(checkpoint))
    query.awaitTermination()
    print(f"busy_seconds {time.monotonic() - started:.2f}")
    session.stop()


if __name__ == "__main__":
    main()
