"""A backup set: a directory of files and their SHA256SUMS, named after the time it was made.

SHA256SUMS is written and uploaded last, so a set without it is one that did not arrive whole.
"""

import hashlib
import re
import sqlite3
from datetime import datetime
from pathlib import Path

from vault.failure import VaultFailed

SUMS = "SHA256SUMS"
FILES = {"falkordb": "falkordb.rdb", "valkey": "valkey.rdb", "opencode": "opencode.db"}
_NAME = re.compile(r"opencode-\d{8}T\d{6}Z")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([a-z.]+)")
_RDB_MAGICS = (b"REDIS", b"VALKEY")


def make_set_name(now: datetime) -> str:
    return now.strftime("opencode-%Y%m%dT%H%M%SZ")


def is_set_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def write_sums(directory: Path) -> None:
    """Writes SHA256SUMS in the form that `sha256sum --check` reads."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(directory.iterdir())]
    (directory / SUMS).write_text("".join(lines), encoding="ascii")


def verify_set(directory: Path) -> list[str]:
    """Checks every file against SHA256SUMS and as what it is; gives the parts it holds, raises VaultFailed."""
    sums = _read_sums(directory)
    present = {path.name for path in directory.iterdir()} - {SUMS}
    if present != set(sums):
        odd = ", ".join(sorted(present ^ set(sums)))
        raise _damaged(directory, f"files and {SUMS} do not name the same: {odd}")
    for name, expected in sums.items():
        actual = _sha256(directory / name)
        if actual != expected:
            raise _damaged(directory, f"{name} has sha256 {actual[:12]}…, the set was made with {expected[:12]}…")
    parts = [part for part, name in FILES.items() if name in sums]
    for part in parts:
        verify_file(part, directory / FILES[part])
    return parts


def verify_file(part: str, path: Path) -> None:
    """Checks that a file is what its store can load; raises VaultFailed."""
    if part == "opencode":
        _verify_sqlite(path)
    elif not _is_whole_rdb(path):
        raise VaultFailed(f"{path.name} is not a whole RDB file ({path.stat().st_size} bytes)")


def _is_whole_rdb(path: Path) -> bool:
    # A dump ends with the byte 0xFF and eight bytes of its own checksum.
    with path.open("rb") as handle:
        if not handle.read(6).startswith(_RDB_MAGICS):
            return False
        handle.seek(0, 2)
        if handle.tell() < 18:
            return False
        handle.seek(-9, 2)
        return handle.read(1) == b"\xff"


def _verify_sqlite(path: Path) -> None:
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise VaultFailed(f"{path.name} is not a whole SQLite database: {error}") from error
    if answer != "ok":
        raise VaultFailed(f"{path.name} is a damaged SQLite database: {answer.splitlines()[0]}")


def _read_sums(directory: Path) -> dict[str, str]:
    try:
        text = (directory / SUMS).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(directory, f"{SUMS} is missing or unreadable") from error
    sums = {}
    for line in text.splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match is None or match[2] not in FILES.values():
            raise _damaged(directory, f"{SUMS} has a line that does not belong there: {line[:80]!r}")
        sums[match[2]] = match[1]
    if not sums:
        raise _damaged(directory, f"{SUMS} is empty")
    return sums


def _damaged(directory: Path, reason: str) -> VaultFailed:
    return VaultFailed(f"backup set `{directory.name}` is damaged: {reason}")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
