"""The commit protocol in Rust on a real S3 server: the one Rust test that needs a part of the harness."""

import os
import subprocess
from pathlib import Path

from harness.s3 import S3

ROOT = Path(__file__).resolve().parent.parent


def test_two_instances_race_on_s3(s3: S3) -> None:
    """200 ranges, each written once; then a checkpoint, a clean-up, and the progress is still there."""
    settings = {key.upper(): value for key, value in s3.storage().items()} | {"AWS_ENDPOINT_URL": s3.endpoint}
    ran = subprocess.run(
        ["cargo", "test", "--release", "--lib", "sink::store::s3", "--", "--ignored"],
        cwd=ROOT,
        env={**os.environ, **settings, "SLUICE_TEST_BUCKET": "lake"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout + ran.stderr
