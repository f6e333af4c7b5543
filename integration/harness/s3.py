"""An S3 server (versitygw) on a folder: objects are plain files there, so a reader without S3 can look too.

By hand: `make s3`.
"""

import shutil
import signal
import tempfile
from pathlib import Path

from harness import places
from harness.processes import Child, answers, free_ports
from harness.waiting import wait_until

ACCESS_KEY = "sluice"
SECRET_KEY = "sluice-secret"
REGION = "us-east-1"


class S3:
    def __init__(self, folder: Path | None = None, bucket: str = "lake"):
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="sluice-s3-"))
        self.bucket = bucket
        self.port = free_ports(1)[0]
        self.child: Child | None = None
        (self.folder / "data" / bucket).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "S3":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "S3":
        command = [str(places.part("s3") / "versitygw"), "--port", f"127.0.0.1:{self.port}", "--quiet"]
        command += ["posix", str(self.folder / "data")]
        keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        self.child = Child(command, self.folder / "s3.log", keys)
        wait_until("the S3 server", lambda: answers(self.port), 30)
        return self

    def stop(self) -> None:
        """Cuts every connection and refuses new ones, until `start`."""
        assert self.child
        self.child.kill()

    def close(self) -> None:
        if self.child:
            self.child.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, table: str) -> str:
        return f"s3://{self.bucket}/{table}"

    def path(self, url: str) -> Path:
        """Where the objects below `url` are on this disk."""
        return self.folder / "data" / url.removeprefix("s3://")

    def storage(self, endpoint: str | None = None) -> dict[str, str]:
        """object_store's keys, as delta-rs takes them."""
        return {
            "aws_endpoint": endpoint or self.endpoint,
            "aws_region": REGION,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "aws_allow_http": "true",
        }

    def settings(self, endpoint: str | None = None) -> dict[str, str]:
        """The same as sluice's `storage`; the secret comes from the environment."""
        return {**self.storage(endpoint), "aws_secret_access_key": "${env:SLUICE_TEST_S3_SECRET}"}


def main() -> None:
    with S3() as s3:
        print(f"endpoint: {s3.endpoint}   bucket: s3://{s3.bucket}   files: {s3.folder / 'data'}")
        print("storage:")
        for key, value in s3.storage().items():
            print(f'  {key}: "{value}"')
        print("Ctrl-C stops it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
