"""How many bytes a registry that has the image before must be sent after one small change."""

import shutil
from pathlib import Path

from benchmark.build import NATIVE, Own, Plain
from benchmark.engines import Buildah
from benchmark.measure import Bench
from benchmark.plain import make_base
from benchmark.results import Figure
from benchmark.variants import make_variants
from lib.commands import say

MIB = 2**20


def measure_push(bench: Bench) -> None:
    """Blobs of the compressed image that are not in the one before."""
    variants = make_variants(bench.work, 1)
    place = bench.work / "push"
    place.mkdir()
    own = Own(NATIVE, place, variants, ["--engine", "native"], None)
    own.forget_made()
    plain = Plain(Buildah(), place, variants, make_base(bench.work))
    try:
        for side in (own, plain):
            measure_side(bench, side, variants.as_it_is, variants.changed)
    finally:
        plain.remove()


def measure_side(bench: Bench, side: Own | Plain, as_it_is: str, changed: dict[str, list[str]]) -> None:
    layout = bench.work / "push-layout"
    before = write(side, as_it_is, layout)
    bench.add(Figure("push", "whole image", side.name, [sum(before.values()) / MIB], "MiB"))
    for what, locks in changed.items():
        after = write(side, locks[0], layout)
        new = sum(size for name, size in after.items() if name not in before)
        say(f"push, one {what} pin, {side.name}: {new / MIB:.1f} MiB of {sum(after.values()) / MIB:.1f}")
        bench.add(Figure("push", f"one {what} pin", side.name, [new / MIB], "MiB"))
    side.take(as_it_is)
    side.touch()
    after = blobs_of(side, layout)
    new = sum(size for name, size in after.items() if name not in before)
    bench.add(Figure("push", "one file", side.name, [new / MIB], "MiB"))


def write(side: Own | Plain, lock: str, layout: Path) -> dict[str, int]:
    side.take(lock)
    return blobs_of(side, layout)


def blobs_of(side: Own | Plain, layout: Path) -> dict[str, int]:
    """Digest and size of every blob of the image as an OCI layout."""
    shutil.rmtree(layout, ignore_errors=True)
    if isinstance(side, Own):
        side.project.oclock("--quiet", "build", *side.flags, "-o", f"oci:{layout}")
    else:
        side.build()
        side.engine.write_oci("plain", layout)
    return {path.name: path.stat().st_size for path in (layout / "blobs/sha256").iterdir()}
