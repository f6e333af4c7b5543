"""The real parts that sluice meets (Kafka, S3, Spark, DuckDB, Polars, delta-rs), each started and asked by a few lines.

`make kafka`, `make registry` and `make s3` run three of them by hand; the tests use them all. Everything
listens on 127.0.0.1, on a port that was free, and ends with the process that started it.
"""
