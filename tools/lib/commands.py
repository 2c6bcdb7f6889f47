"""Programs run to their end: what they said, how long they took and how much memory the largest of their processes had."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

STARTED = time.monotonic()


@dataclass(frozen=True)
class Run:
    """A program that ended well."""

    output: str
    talk: str
    seconds: float
    peak_mib: float


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", file=sys.stderr, flush=True)


def run(*command: object, text: str | None = None, **settings: object) -> Run:
    """Runs a command; one that fails ends this program with what it said. `text` is its standard input."""
    done, code = attempt(*command, text=text, **settings)
    if code:
        sys.exit(f"error: exit code {code}: {' '.join(map(str, command))}\n{done.output[-2000:]}{done.talk[-4000:]}")
    return done


def attempt(*command: object, text: str | None = None, **settings: object) -> tuple[Run, int]:
    """Runs a command and gives its exit code beside what it said."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write((text or "").encode())
        given.seek(0)
        start = time.monotonic()
        process = subprocess.Popen(words, stdin=given, stdout=out, stderr=err, **settings)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said = Run(read(out), read(err), seconds, usage.ru_maxrss / 1024)
        return said, process.returncode


def read(file) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def is_there(program: str) -> bool:
    return any((Path(directory) / program).is_file() for directory in os.environ["PATH"].split(":"))
