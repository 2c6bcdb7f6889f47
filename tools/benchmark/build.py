"""The whole image beside a plain Dockerfile of the same packages under docker and buildah."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmark.engines import PREFIX, Buildah, Docker, path_with, usable
from benchmark.measure import Bench, Side, compare
from benchmark.plain import PlainProject, make_base
from benchmark.variants import Variants, make_variants
from lib.commands import Run, say
from lib.project import Project

NATIVE = "oclock"


class Own:
    """oclock with a project and a store of its own; `keeper` is where the image is loaded."""

    def __init__(self, name: str, work: Path, variants: Variants, flags: list[str], keeper: Docker | Buildah | None):
        self.name, self.variants, self.keeper = name, variants, keeper
        place = work / f"own-{len(list(work.glob('own-*')))}"
        self.project = Project(place / "project", place / "store", variants.store.parent / "variants")
        self.tag = place.name
        self.flags = [*flags, "--tag", f"{PREFIX}-{self.tag}"] if keeper else [*flags, "--no-load"]
        if keeper and flags[-1] == "native":
            self.project.environment["PATH"] = path_with(keeper.program, work / f"path-{keeper.program}")
        self.take(variants.as_it_is)

    def take(self, lock: str) -> None:
        (self.project.directory / "lockfile.toml").write_text(lock)

    def build(self) -> Run:
        return self.project.oclock("--quiet", "build", *self.flags)

    def checked(self) -> Run:
        """A build of the lockfile as it is, whose image must be the recorded one."""
        run = self.build()
        if self.variants.recorded and run.output.strip() != self.variants.recorded:
            raise SystemExit(f"error: {self.name} built {run.output.strip()}, recorded is {self.variants.recorded}")
        return run

    def forget_all(self) -> None:
        shutil.rmtree(self.project.store, ignore_errors=True)
        self.remove()

    def forget_made(self) -> None:
        """Back to a store that has artifacts alone."""
        self.variants.fresh_store(self.project.store)
        self.remove()

    def touch(self) -> None:
        append(self.project.directory / "context/config.json", "\n")

    def remove(self) -> None:
        if self.keeper:
            self.keeper.remove(self.tag)


class Plain:
    """A plain Dockerfile under one engine."""

    def __init__(self, engine: Docker | Buildah, work: Path, variants: Variants, base: Path):
        self.name, self.engine, self.variants = f"Dockerfile, {engine.name}", engine, variants
        place = work / f"plain-{engine.program}"
        project = Project(place / "project", place / "store", variants.store.parent / "variants")
        self.lock = project.directory / "lockfile.toml"
        self.lock.write_text(variants.as_it_is)
        self.plain = PlainProject(project, place / "context")
        self.colds = itertools.count(1)
        engine.import_base(base)

    def build(self, *flags: str) -> Run:
        return self.engine.build(self.plain.directory, *flags)

    def forget_all(self) -> None:
        self.plain.write(f"cold-{next(self.colds)}-{self.plain.directory.parent.parent.name}")

    def fill_caches(self) -> None:
        say(f"{self.name}: filling the caches")
        self.plain.write("0")
        self.build("--no-cache")

    def take(self, lock: str) -> None:
        self.lock.write_text(lock)
        self.plain.write_pins()

    def touch(self) -> None:
        append(self.plain.directory / "config.json", "\n")

    def remove(self) -> None:
        self.engine.remove("plain", "base")


def measure_build(bench: Bench, every_engine: bool = False) -> None:
    """Cold, warm, one pin changed, one file changed, nothing changed."""
    variants = make_variants(bench.work, bench.runs)
    engines = usable()
    base = make_base(bench.work)
    place = bench.work / "build"
    place.mkdir()
    owns = [Own(NATIVE, place, variants, ["--engine", "native"], None)]
    owns += [Own(f"{NATIVE}, into {engine.program}", place, variants, ["--engine", "native"], engine) for engine in engines]
    if every_engine:
        owns += [Own(f"{NATIVE} in {engine.name}", place, variants, ["--engine", engine.flag], engine) for engine in engines]
    plains = [Plain(engine, place, variants, base) for engine in engines]
    try:
        measure_cases(bench, variants, owns, plains)
    finally:
        for side in (*owns, *plains):
            side.remove()


def measure_cases(bench: Bench, variants: Variants, owns: list[Own], plains: list[Plain]) -> None:
    once = bench.at_most(1)
    compare(once, "build", "cold", [Side(own.name, own.checked, own.forget_all) for own in owns]
            + [Side(plain.name, lambda plain=plain: plain.build("--no-cache"), plain.forget_all) for plain in plains])
    for plain in plains:
        plain.fill_caches()
    compare(bench, "build", "warm", [Side(own.name, own.checked, own.forget_made) for own in owns]
            + [Side(plain.name, lambda plain=plain: plain.build("--no-cache")) for plain in plains])
    for plain in plains:
        plain.build()
    both = [*owns, *plains]
    for what in ("pip", "npm"):
        locks = variants.changed[what]
        compare(bench.at_most(len(locks)), "build", f"one {what} pin", [Side(side.name, side.build, taker(side, locks)) for side in both])
    compare(bench, "build", "one file", [Side(side.name, side.build, side.touch) for side in both])
    compare(bench, "build", "nothing", [Side(side.name, side.build) for side in both])


def taker(side: Own | Plain, locks: list[str]) -> Callable[[], None]:
    """Takes the next lockfile each time, one that was never built before."""
    following = itertools.cycle(locks)
    return lambda: side.take(next(following))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)
