"""Sides of a comparison in turn, A B A B …, so that a machine whose speed drifts is unfair to none."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.results import Figure, Results
from lib.commands import STARTED, Run, say


@dataclass
class Bench:
    """What every question is given."""

    # Scratch, removed at the end.
    work: Path
    results: Results
    # The most runs of each side, and the minutes after which no side is run a second time.
    runs: int
    minutes: float

    def may_repeat(self, done: int, began: float) -> bool:
        return done < self.runs and time.monotonic() - began < self.minutes * 60

    def at_most(self, runs: int) -> "Bench":
        """The same with fewer runs, where something can be measured so often only."""
        return Bench(self.work, self.results, min(self.runs, runs), self.minutes)

    def add(self, figure: Figure) -> None:
        self.results.add(figure)


@dataclass(frozen=True)
class Side:
    """One way to do it. `before` is not counted; an action that gives a Run is measured by that."""

    name: str
    action: Callable[[], Run | None]
    before: Callable[[], object] = lambda: None


def compare(bench: Bench, question: str, case: str, sides: list[Side], at: float | None = None) -> None:
    """Runs the sides in turn and keeps each one's seconds."""
    figures = {side.name: Figure(question, case, side.name, [], at=at) for side in sides}
    began, done = time.monotonic(), 0
    while done == 0 or bench.may_repeat(done, began):
        for side in sides:
            side.before()
            figures[side.name] = with_run(figures[side.name], side)
        done += 1
    for figure in figures.values():
        bench.add(figure)


def with_run(figure: Figure, side: Side) -> Figure:
    start = time.monotonic()
    ran = side.action()
    seconds = ran.seconds if ran else time.monotonic() - start
    peak = max(figure.peak_mib or 0, ran.peak_mib) if ran else None
    say(f"{figure.question}, {figure.case}, {side.name}: {seconds:.2f} s" + (f", {peak:.0f} MiB" if peak else ""))
    fields = {**vars(figure), "values": [*figure.values, seconds], "peak_mib": peak}
    return Figure(**fields)


def elapsed() -> float:
    return time.monotonic() - STARTED
