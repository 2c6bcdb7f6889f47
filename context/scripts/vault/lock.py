"""One backup or restore at a time on this machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault.failure import VaultFailed

LOCK = Path("/run/opencode-backup.lock")


@contextmanager
def only_one() -> Iterator[None]:
    """Holds the lock; raises VaultFailed at once when another run has it. The kernel frees it when a run dies."""
    with LOCK.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VaultFailed("another backup or restore is running", "this run changed nothing") from error
        yield
