"""The trees of Python and npm packages, beside `uv pip install` and `npm ci` with everything in their caches."""

import json
import shutil
import sys
from pathlib import Path

from benchmark.build import taker
from benchmark.measure import Bench, Side, compare
from benchmark.variants import Variants, make_variants
from lib.commands import Run, attempt, run, say
from lib.project import Project


class Tree:
    """oclock's context: what is not changed is kept, so that a moved pin makes its own tree alone anew."""

    def __init__(self, work: Path, variants: Variants):
        self.project = Project(work / "trees/project", work / "trees/store", work / "variants")
        self.variants = variants
        variants.fresh_store(self.project.store)

    def take(self, lock: str) -> None:
        (self.project.directory / "lockfile.toml").write_text(lock)

    def context(self) -> Run:
        return self.project.oclock("--quiet", "context")


def measure_trees(bench: Bench) -> None:
    """Python's 59 wheels and npm's packages after one pin moved; what `oclock context` takes with nothing changed is beside it."""
    variants = make_variants(bench.work, bench.runs)
    tree = Tree(bench.work, variants)
    tree.take(variants.as_it_is)
    tree.context()
    compare(bench, "trees", "nothing", [Side("oclock context", tree.context)])
    uv = Uv(bench.work, tree.project)
    compare(bench.at_most(len(variants.changed["pip"])), "trees", "pip", [
        Side("oclock context", tree.context, taker(tree, variants.changed["pip"])),
        Side("uv, hard links", lambda: uv.install("--link-mode", "hardlink"), uv.clear),
        Side("uv, copies", lambda: uv.install("--link-mode", "copy"), uv.clear),
    ])  # fmt: skip
    npm = Npm(bench.work, tree.project)
    compare(bench.at_most(len(variants.changed["npm"])), "trees", "npm", [
        Side("oclock context", tree.context, taker(tree, variants.changed["npm"])),
        Side("npm ci", npm.install, npm.clear),
    ])  # fmt: skip


class Uv:
    """The locked wheels into a directory, for the image's Python and not this machine's."""

    def __init__(self, work: Path, project: Project):
        self.target, self.cache = work / "uv-target", work / "uv-cache"
        self.program = uv_program(work)
        self.requirements = work / "uv-requirements.txt"
        lines = [f"{pin['name']}=={pin['version']}\n" for pin in project.lock["pip"]]
        self.requirements.write_text("".join(lines))
        self.install()

    def install(self, *flags: str) -> Run:
        self.clear()
        return run(self.program, "pip", "install", "--quiet", "--no-deps", "--python-version", "3.13", "--python-platform",
                   "x86_64-unknown-linux-gnu", "--cache-dir", self.cache, "--target", self.target, *flags, "-r", self.requirements)

    def clear(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)


def uv_program(work: Path) -> Path:
    """uv in an environment of its own."""
    venv = work / "uv"
    if not venv.exists():
        run(sys.executable, "-m", "venv", venv)
        run(venv / "bin/pip", "install", "--quiet", "uv")
    return venv / "bin/uv"


class Npm:
    """`npm ci` in one directory for each of the image's npm trees; `npm install` where npm does not take its own lockfile, as
    npm 11 does not where a package for another platform is missing in the registry."""

    def __init__(self, work: Path, project: Project):
        self.cache, self.places = work / "npm-cache", []
        npm = project.manifest["npm"]
        for number, asked in enumerate([npm["packages"], *npm.get("projects", {}).values()]):
            place = work / f"npm-{number}"
            place.mkdir()
            package = {"name": "x", "version": "1.0.0", "dependencies": asked}
            (place / "package.json").write_text(json.dumps(package))
            run("npm", "install", "--package-lock-only", "--cache", self.cache, cwd=place)
            _, code = attempt(*self.command("ci"), cwd=place)
            self.places.append((place, "install" if code else "ci"))
            if code:
                say(f"npm ci does not take npm's own lockfile for {', '.join(asked)}: npm install is measured there")
        self.clear()
        self.install()

    def command(self, word: str) -> list[str | Path]:
        return ["npm", word, "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--cache", self.cache]

    def install(self) -> None:
        for place, word in self.places:
            run(*self.command(word), cwd=place)

    def clear(self) -> None:
        for place, _ in self.places:
            shutil.rmtree(place / "node_modules", ignore_errors=True)
