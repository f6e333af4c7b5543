"""An S3 server (versitygw) on a folder: objects are plain files there, so a reader without S3 can look too.

By hand: `make s3`.
"""

from pathlib import Path

from harness import places
from harness.server import Server, until_interrupted

ACCESS_KEY = "sluice"
SECRET_KEY = "sluice-secret"
REGION = "us-east-1"


class S3(Server):
    env = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}

    def __init__(self, folder: Path | None = None, bucket: str = "lake"):
        super().__init__("s3", folder)
        self.bucket = bucket
        (self.folder / "data" / bucket).mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        command = [str(places.part("s3") / "versitygw"), "--port", f"127.0.0.1:{self.port}", "--quiet"]
        return [*command, "posix", str(self.folder / "data")]

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
        until_interrupted(
            f"endpoint: {s3.endpoint}   bucket: s3://{s3.bucket}   files: {s3.folder / 'data'}",
            "storage:",
            *(f'  {key}: "{value}"' for key, value in s3.storage().items()),
        )


if __name__ == "__main__":
    main()
