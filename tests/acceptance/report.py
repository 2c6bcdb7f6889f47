"""One line a check. A check that was announced and did not run is a failure, never a gap."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Failed(Exception):
    """A check's expectation did not hold."""


def expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


class Report:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self._pending: list[str] = []

    @contextmanager
    def group(self, names: tuple[str, ...]) -> Iterator[None]:
        """Announces checks; those still open when the group ends, or breaks off, fail."""
        self._pending = list(names)
        reason = "did not run"
        try:
            yield
        except Exception as error:
            reason = f"did not run: {_one_line(error)}"
        for name in list(self._pending):
            self._fail(name, reason)

    @contextmanager
    def check(self, name: str) -> Iterator[list[str]]:
        """Runs one check; what it appends to the list is printed behind its name."""
        if name not in self._pending:
            raise LookupError(f"check {name} was not announced")
        start = time.monotonic()
        details: list[str] = []
        try:
            yield details
        except Exception as error:
            self._fail(name, _one_line(error))
            return
        self._pending.remove(name)
        self.passed += 1
        details.append(f"{time.monotonic() - start:.1f} s")
        print(f"ok {name} ({', '.join(details)})", flush=True)

    def _fail(self, name: str, reason: str) -> None:
        self._pending.remove(name)
        self.failed += 1
        print(f"FAIL {name}: {reason}", flush=True)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no reason given"
    return text[:600] if isinstance(error, Failed) else f"{type(error).__name__}: {text[:600]}"
