"""Copies of a project that oclock builds from, each with a store and a ledger that nobody else has."""

import os
import re
import shutil
import tomllib
from pathlib import Path

from lib.commands import Run, attempt, run

REPOSITORY = Path(__file__).resolve().parents[2]
OCLOCK = Path(os.environ.get("OCLOCK", REPOSITORY / "target/release/oclock")).absolute()
PARTS = ("oclock.toml", "Containerfile.in", "lockfile.toml", "context")


class Project:
    """A project in a directory of its own."""

    def __init__(self, directory: Path, store: Path, source: Path | None = REPOSITORY):
        self.directory, self.store = directory, store
        self.environment = {**os.environ, "OCLOCK_LEDGER": str(store.parent / "ledger")}
        directory.mkdir(parents=True)
        if source:
            copy_parts(source, directory)

    @property
    def manifest(self) -> dict:
        return tomllib.loads((self.directory / "oclock.toml").read_text())

    @property
    def lock(self) -> dict:
        return tomllib.loads((self.directory / "lockfile.toml").read_text())

    @property
    def recorded(self) -> str | None:
        """The image ID that the lockfile records for this machine's platform."""
        return next((f"sha256:{image['id']}" for image in self.lock.get("image", {}).values()), None)

    def command(self, *arguments: object) -> list[str]:
        return [str(word) for word in (OCLOCK, "--store", self.store, "-C", self.directory, *arguments)]

    def oclock(self, *arguments: object, before: tuple = (), **settings: object) -> Run:
        """Runs oclock on this project; `before` are words in front of it, such as those of taskset."""
        return run(*before, *self.command(*arguments), env=self.environment, **settings)

    def try_oclock(self, *arguments: object) -> tuple[Run, int]:
        return attempt(*self.command(*arguments), env=self.environment)

    def forget_images(self) -> None:
        """Takes the recorded image out of the lockfile, so that another one may come out."""
        path = self.directory / "lockfile.toml"
        path.write_text(without_images(path.read_text()))

    def version(self, ecosystem: str, name: str) -> str:
        return next(pin["version"] for pin in self.lock[ecosystem] if pin["name"] == name)


def without_images(lock: str) -> str:
    """The text of a lockfile without its tables of recorded images."""
    return re.sub(r"(?ms)^\[+image\b.*?(?=^\[|\Z)", "", lock)


def copy_parts(source: Path, target: Path) -> None:
    for part in PARTS:
        one = source / part
        if one.is_dir():
            shutil.copytree(one, target / part, symlinks=True)
        elif one.exists():
            shutil.copy(one, target / part)


def copy_store(source: Path, target: Path) -> None:
    """A store with the same files, as hard links: oclock replaces files and never changes one in place."""
    run("rm", "-rf", target)
    run("cp", "-al", source, target)
