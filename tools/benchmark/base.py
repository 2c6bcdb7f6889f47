"""Debian's smallest system with apt in it, beside mmdebstrap."""

import shutil
from pathlib import Path

from benchmark.measure import Bench, Side, compare
from lib.commands import Run, run
from lib.debian import sources
from lib.project import Project, copy_store

MANIFEST = '[image]\nname = "base"\nbase = { debian = "trixie" }\n\n[apt]\npackages = ["apt"]\n'
TEMPLATE = "FROM {{ base }}\n{{ apt.install }}\n"
KEPT = ("/var/cache/apt/archives", "/var/lib/apt/lists")


def make_project(work: Path) -> Project:
    """A project of Debian alone, its artifacts in the store."""
    project = Project(work / "base/project", work / "base/store", None)
    (project.directory / "oclock.toml").write_text(MANIFEST)
    (project.directory / "Containerfile.in").write_text(TEMPLATE)
    project.oclock("--quiet", "update")
    shutil.rmtree(project.store)
    project.oclock("--quiet", "fetch")
    return project


def measure_base(bench: Bench) -> None:
    """With downloads, and with every package at hand."""
    project = make_project(bench.work)
    fetched = bench.work / "base/fetched"
    copy_store(project.store, fetched)
    cache = bench.work / "base/cache"
    build = lambda: project.oclock("--quiet", "build", "--engine", "native", "--no-load")
    once = bench.at_most(2)
    compare(once, "base", "cold", [
        Side("oclock", build, lambda: shutil.rmtree(project.store)),
        Side("mmdebstrap", lambda: mmdebstrap(bench.work, None)),
    ])  # fmt: skip
    mmdebstrap(bench.work, cache)
    compare(bench, "base", "warm", [
        Side("oclock", build, lambda: copy_store(fetched, project.store)),
        Side("mmdebstrap", lambda: mmdebstrap(bench.work, cache)),
    ])  # fmt: skip


def mmdebstrap(work: Path, cache: Path | None) -> Run:
    """To a tar; with a cache, packages and lists are taken from it and put there."""
    hooks = []
    for place in KEPT if cache else ():
        kept = cache / place.strip("/").replace("/", "-")
        (kept / "partial").mkdir(parents=True, exist_ok=True)
        hooks += [f"--setup-hook=mkdir -p $1{place}", f"--setup-hook=sync-in {kept} {place}"]
        hooks += [f"--customize-hook=sync-out {place} {kept}"]
    keep = ["--skip=essential/unlink,download/empty"] if cache else []
    return run("mmdebstrap", "--quiet", "--variant=minbase", *keep, *hooks, "trixie", work / "minbase.tar", "-",
               text=sources("trixie"))
