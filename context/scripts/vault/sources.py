"""Files out of the running stores: an RDB dump of FalkorDB and Valkey, an online copy of OpenCode's database."""

import os
import sqlite3
import subprocess
from pathlib import Path

from vault.failure import VaultFailed
from vault.sets import FILES, verify_file
from vault.settings import Settings, Store

DUMP_SECONDS = 1800


def dump_part(settings: Settings, part: str, directory: Path) -> None:
    """Writes one part of a set into a directory; raises VaultFailed with the store's name."""
    path = directory / FILES[part]
    if part == "opencode":
        copy_database(settings.database, path)
    else:
        _dump_store(settings.stores[part], path)
    verify_file(part, path)


def copy_database(source: Path, target: Path) -> None:
    """Copies a SQLite database while others use it. What they commit meanwhile is in the copy or not, never half."""
    if not source.is_file():
        raise VaultFailed(
            f"there is no database at {source}", "start the server once, or leave `opencode` out of BACKUP_PARTS"
        )
    try:
        reading = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)
        writing = sqlite3.connect(target)
        try:
            reading.backup(writing)
            # A copy keeps the write-ahead mode, and then one file is not the whole database.
            writing.execute("PRAGMA journal_mode = DELETE")
        finally:
            writing.close()
            reading.close()
    except sqlite3.Error as error:
        raise VaultFailed(f"could not copy {source} to {target.parent}: {error}") from error


def _dump_store(store: Store, path: Path) -> None:
    command = ["redis-cli", "-h", store.host, "-p", str(store.port), "--no-auth-warning"]
    if store.username:
        command += ["--user", store.username]
    # redis-cli hangs or says little when it cannot log in, so that is asked first.
    pong = _run_client([*command, "PING"], store, timeout=10)
    if pong.stdout.strip() != "PONG":
        raise VaultFailed(f"{store} does not answer: {_last_line(pong.stdout + pong.stderr)}")
    dump = _run_client([*command, "--rdb", str(path)], store, timeout=DUMP_SECONDS)
    if dump.returncode != 0 or not path.exists():
        raise VaultFailed(f"{store} gave no dump into {path.parent}: {_last_line(dump.stderr or dump.stdout)}")


def _run_client(command: list[str], store: Store, timeout: int) -> subprocess.CompletedProcess[str]:
    # By environment, not by argument: arguments can be read by every process.
    environment = {**os.environ, "REDISCLI_AUTH": store.password} if store.password else None
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise VaultFailed(f"{store} did not answer within {timeout} s") from error


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"
