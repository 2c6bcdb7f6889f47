"""How time and memory grow with packages, bytes of files and cores."""

import os
import random
import shutil
from pathlib import Path

from benchmark.engines import PREFIX
from benchmark.measure import Bench, Side, compare
from benchmark.variants import make_variants
from lib.commands import Run, run
from lib.debian import sources
from lib.project import Project, copy_store

# About 50, 200 and 800 packages with all that they need.
PACKAGES = {
    "small": [],
    "medium": ["git", "python3", "nodejs", "build-essential"],
    "large": ["git", "python3", "nodejs", "build-essential", "libreoffice-writer", "gimp", "inkscape", "texlive-latex-recommended"],
}
GIGABYTES = (0.5, 2, 8)
FILE_BYTES = 2**20
BUILD = ("--quiet", "build", "--engine", "native", "--no-load")


def measure_growth(bench: Bench) -> None:
    measure_packages(bench)
    measure_files(bench)
    measure_cores(bench)


def small_project(work: Path, name: str, packages: list[str], copied: str) -> Project:
    """A project of Debian packages and files, fetched."""
    project = Project(work / name / "project", work / name / "store", None)
    quoted = ", ".join(f'"{package}"' for package in packages)
    (project.directory / "oclock.toml").write_text(
        f'[image]\nname = "{name}"\nbase = {{ debian = "trixie" }}\n\n[apt]\npackages = [{quoted}]\n'
    )
    (project.directory / "Containerfile.in").write_text(f"FROM {{{{ base }}}}\n{{{{ apt.install }}}}\n{copied}")
    project.oclock("--quiet", "update")
    project.oclock("--quiet", "fetch")
    return project


def measure_packages(bench: Bench) -> None:
    """From a store that has the packages alone; mmdebstrap with the same ones, which it downloads."""
    for name, packages in PACKAGES.items():
        project = small_project(bench.work, f"packages-{name}", packages, "")
        fetched = bench.work / f"packages-{name}-fetched"
        keep_blobs(project, fetched)
        count = len(project.lock["apt"])
        include = [f"--include={','.join(packages)}"] if packages else []
        peer = lambda: run("mmdebstrap", "--quiet", "--variant=essential", '--aptopt=APT::Install-Recommends "false"', *include,
                           "trixie", bench.work / "packages.tar", "-", text=sources("trixie"))  # fmt: skip
        compare(bench, "growth", "packages", [
            Side("oclock", lambda: project.oclock(*BUILD), lambda: copy_store(fetched, project.store)),
            Side("mmdebstrap with downloads", peer),
        ], at=count)  # fmt: skip
        shutil.rmtree(bench.work / f"packages-{name}")
        shutil.rmtree(fetched)


def keep_blobs(project: Project, target: Path) -> None:
    """Empties the store of all but what `fetch` brings, and keeps that at `target`."""
    shutil.rmtree(project.store)
    project.oclock("--quiet", "fetch")
    copy_store(project.store, target)


def measure_files(bench: Bench) -> None:
    """The smallest system and one COPY; buildah with the same COPY on nothing."""
    once = bench.at_most(1)
    for size in GIGABYTES:
        project = small_project(bench.work, "files", [], "COPY data/ /data/\n")
        make_files(project.directory / "context/data", int(size * 1e9))
        (project.directory / "context/Dockerfile").write_text("FROM scratch\nCOPY data/ /data/\n")
        peer = lambda: run("buildah", "build", "--layers", "--tag", f"{PREFIX}-files", project.directory / "context")
        compare(once, "growth", "files", [Side("oclock", lambda: project.oclock(*BUILD)), Side("buildah, COPY alone", peer)], at=size)
        run("buildah", "rmi", "--force", f"{PREFIX}-files")
        shutil.rmtree(bench.work / "files")


def make_files(directory: Path, total: int) -> None:
    """Files of 1 MiB, half of each without any order and half of few words."""
    directory.mkdir(parents=True)
    source = random.Random(1)
    words = (b"the quick brown fox jumps over the lazy dog\n" * (FILE_BYTES // 80))[: FILE_BYTES // 2]
    for number in range(total // FILE_BYTES):
        place = directory / f"{number // 256:03}"
        place.mkdir(exist_ok=True)
        (place / f"{number:05}").write_bytes(source.randbytes(FILE_BYTES // 2) + words)


def measure_cores(bench: Bench) -> None:
    """This repository's image from a store that has its artifacts alone."""
    variants = make_variants(bench.work, 0)
    project = Project(bench.work / "cores/project", bench.work / "cores/store", bench.work / "variants")

    def build(cores: int) -> Run:
        return project.oclock(*BUILD, before=("taskset", "-c", f"0-{cores - 1}"))

    for cores in (count for count in (1, 2, 4, 8) if count <= (os.cpu_count() or 1)):
        side = Side("oclock", lambda: build(cores), lambda: variants.fresh_store(project.store))
        compare(bench, "growth", "cores", [side], at=cores)
