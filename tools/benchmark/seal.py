"""The seal: a root filesystem to an OCI layout, beside `buildah push` and `skopeo copy` of the same image."""

import re
import shutil
from pathlib import Path

from benchmark.engines import PREFIX
from benchmark.measure import Bench, Side, compare
from benchmark.results import Figure
from benchmark.variants import make_variants
from lib.commands import Run, run, say
from lib.project import Project

# The phases of a build that are the seal, by their first word.
PHASES = ("sealing", "compressing")
IMAGE = f"{PREFIX}-seal"


def measure_seal(bench: Bench) -> None:
    """oclock's own phase times of whole builds, in turn with the peers, who read the same image from buildah's storage."""
    variants = make_variants(bench.work, 0)
    project = Project(bench.work / "seal/project", bench.work / "seal/store", bench.work / "variants")
    layout, archive = bench.work / "layout", bench.work / "seal/image.tar"
    phases: dict[str, list[float]] = {}

    def build() -> None:
        shutil.rmtree(layout, ignore_errors=True)
        said = project.oclock("build", "--engine", "native", "--no-load", "-o", f"oci:{layout}")
        for name, seconds in phase_seconds(said).items():
            phases.setdefault(name, []).append(seconds)

    variants.fresh_store(project.store)
    project.oclock("--quiet", "build", "--engine", "native", "--no-load", "-o", f"docker-archive:{archive}")
    run("skopeo", "copy", "--quiet", "--insecure-policy", f"docker-archive:{archive}", f"containers-storage:{IMAGE}")
    copies = [
        Side("buildah push", lambda: run("buildah", "push", "--quiet", IMAGE, f"oci:{layout}:x"), lambda: clear(layout)),
        Side("skopeo copy", lambda: run("skopeo", "copy", "--quiet", "--insecure-policy", f"containers-storage:{IMAGE}",
                                        f"oci:{layout}:x"), lambda: clear(layout)),
    ]  # fmt: skip
    whole = Side("oclock, whole build", build, lambda: variants.fresh_store(project.store))
    try:
        compare(bench, "seal", "to an OCI layout", [whole, *copies])
    finally:
        run("buildah", "rmi", IMAGE)
    keep_phases(bench, phases)


def keep_phases(bench: Bench, phases: dict[str, list[float]]) -> None:
    sums = [sum(values) for values in zip(*(seconds for name, seconds in phases.items() if name.startswith(PHASES)))]
    bench.add(Figure("seal", "to an OCI layout", "oclock, sealing and compressing", sums))
    for name, seconds in phases.items():
        bench.add(Figure("phases", name, "oclock", seconds))


def phase_seconds(said: Run) -> dict[str, float]:
    """What the lines of phases on stderr say, such as `sealing layers   5480 paths (0.4 s)`."""
    found = {}
    for line in said.talk.splitlines():
        if match := re.match(r"(\S.*?)  +.*\((\d+\.\d+) s\)$", line):
            found[match.group(1)] = float(match.group(2))
    say(", ".join(f"{name} {seconds} s" for name, seconds in found.items()))
    return found


def clear(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
