"""Lockfiles that differ from a project's own in one small pin, and a store that has the artifacts of them all."""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lib.commands import run, say
from lib.project import Project, copy_store

# Small packages that other pins ask for and that have many versions which satisfy them.
PIP, NPM = "certifi", "yaml"


@dataclass
class Variants:
    """The lockfile as it is, and others; the store has what all of them name and nothing made of it."""

    store: Path
    as_it_is: str
    # What the image of the lockfile as it is must be, where it is recorded.
    recorded: str | None
    changed: dict[str, list[str]] = field(default_factory=dict)

    def fresh_store(self, target: Path) -> None:
        copy_store(self.store, target)


def make_variants(work: Path, count: int) -> Variants:
    """Chooses `count` other versions of one package in each ecosystem and fetches all that is named."""
    project = Project(work / "variants", work / "variants-store")
    recorded = project.recorded
    project.forget_images()
    say("fetching the artifacts")
    project.oclock("--quiet", "fetch")
    lock = project.directory / "lockfile.toml"
    variants = Variants(work / "variants-store", lock.read_text(), recorded)
    if not count:
        return variants
    chooser = Project(work / "chooser", work / "chooser-store", project.directory)
    for what, name, versions in (("pip", PIP, pip_versions(PIP)), ("npm", NPM, npm_versions(NPM))):
        texts = [other_lock(chooser, variants.as_it_is, what, name, version) for version in versions[: 2 * count]]
        variants.changed[what] = [text for text in texts if text][:count]
        for text in variants.changed[what]:
            lock.write_text(text)
            project.oclock("--quiet", "fetch")
    shutil.rmtree(work / "chooser-store")
    return variants


def other_lock(chooser: Project, as_it_is: str, what: str, name: str, version: str) -> str | None:
    """The lockfile with this one pin moved; none when something that asks for the package does not allow the version."""
    lock = chooser.directory / "lockfile.toml"
    lock.write_text(as_it_is)
    if chooser.version(what, name) == version:
        return None
    _, code = chooser.try_oclock("--quiet", "update", f"{what}:{name}", "--precise", version)
    return lock.read_text() if code == 0 else None


def pip_versions(name: str) -> list[str]:
    """Newest first."""
    said = run("python3", "-m", "pip", "index", "versions", name).output
    return re.search(r"Available versions: (.*)", said).group(1).split(", ")


def npm_versions(name: str) -> list[str]:
    """Newest first, without those that are not releases."""
    versions = json.loads(run("npm", "view", name, "versions", "--json").output)
    return [version for version in reversed(versions) if "-" not in version]
