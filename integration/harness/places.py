"""Where `setup.sh` put the real parts, and the binary under test."""

import os
import shutil
from pathlib import Path

CACHE = Path(
    os.environ.get("SLUICE_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"
)


def part(name: str) -> Path:
    """The folder of a real part; `make real-parts` makes it."""
    folder = CACHE / name
    if not (folder / ".made-from").exists():
        raise SystemExit(f"{folder} is not there: run `make real-parts`")
    return folder


def java_class_path(name: str) -> str:
    return f"{part(name)}/*"


def java() -> str:
    home = os.environ.get("JAVA_HOME")
    return f"{home}/bin/java" if home else (shutil.which("java") or "java")


def sluice_binary() -> Path:
    """$SLUICE_BIN, else the release binary in cargo's target folder."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
    binary = Path(os.environ.get("SLUICE_BIN") or target / "release" / "sluice")
    if not binary.exists():
        raise SystemExit(f"{binary} is not there: run `make build`")
    return binary
