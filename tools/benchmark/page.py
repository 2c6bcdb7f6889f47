"""docs/performance.md: its tables and plots from the figures; the words around them are people's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark import plot
from benchmark.results import Figure, Results
from lib.pages import fill


@dataclass(frozen=True)
class Aim:
    """What issue-sized promises say of a case: peer's time to oclock's at least, and oclock's seconds at most."""

    ratio: float
    seconds: float | None = None


OWN = "oclock"
SEALED = "oclock, sealing and compressing"
AIMS = {
    ("build", "warm"): Aim(4),
    ("build", "one pip pin"): Aim(10, 4),
    ("build", "one npm pin"): Aim(10, 4),
    ("build", "nothing"): Aim(10, 0.1),
    ("base", "warm"): Aim(2),
    ("seal", "to an OCI layout"): Aim(2),
    ("update", "cold"): Aim(2),
}
# At most this share of the image's bytes after one small change.
PUSHED = 0.05
TITLES = {
    "build": "The whole image",
    "base": "Debian's smallest system",
    "trees": "Trees of packages",
    "seal": "Root filesystem to an OCI layout",
    "update": "Choosing versions",
    "push": "Bytes to push",
}
GROWTH = {
    "packages": "Debian packages in the image",
    "files": "GB of the project's files",
    "cores": "cores",
}


def rewrite(page: Path, results: Results) -> None:
    """Puts the tables between their marks, and the plots beside the page."""
    text = page.read_text()
    text = fill(text, "machine", machine(results))
    for question in TITLES:
        if figures := results.of(question):
            plots = draw_bars(page.parent, question, figures)
            text = fill(text, question, f"{plots}\n\n{TABLES.get(question, seconds_table)(figures)}")
    if phases := results.of("phases"):
        text = fill(text, "phases", phases_table(phases))
    if growth := results.of("growth"):
        text = fill(text, "growth", f"{draw_growth(page.parent, growth)}\n\n{growth_table(growth)}")
    page.write_text(text)


def machine(results: Results) -> str:
    about = results.machine
    programs = ", ".join(f"{name} {version}" for name, version in about["programs"].items())
    days = sorted({figure.day for figure in results.figures})
    loads = sorted(figure.load for figure in results.figures)
    return (f"{about['processor']}, {about['cores']} cores, {about['memory']}; {about['system']}, Linux {about['kernel']}, "
            f"{about['file_system']}; {programs}. Measured {' to '.join(dict.fromkeys((days[0], days[-1])))} at loads of "
            f"{loads[0]} to {loads[-1]} (1 minute, before each comparison; other work's share is in it).")  # fmt: skip


def seconds_table(figures: list[Figure]) -> str:
    """A row for each peer of each case."""
    rows = ["| case | oclock | its memory | peer | seconds | ratio | aim | runs |", "|---" * 8 + "|"]
    for case in cases_of(figures):
        sides = [figure for figure in figures if figure.case == case]
        own = next((figure for figure in sides if figure.side in (SEALED, OWN)), sides[0])
        own = next((figure for figure in sides if figure.side == SEALED), own)
        for peer in sides:
            if peer is own and len(sides) > 1:
                continue
            rows.append(seconds_row(own, peer))
    return "\n".join(rows)


def seconds_row(own: Figure, peer: Figure) -> str:
    if peer is own:
        return f"| {own.case} | {plot.number(own.median)} s | {memory(own)} | | | | | {runs(own)} |"
    is_peer = not peer.side.startswith(OWN)
    ratio, aim = peer.median / own.median, AIMS.get((own.question, own.case)) if is_peer else None
    met = said_aim(aim, own.median, ratio) if aim else ""
    return (f"| {own.case} | {plot.number(own.median)} s | {memory(own)} | {peer.side} | {plot.number(peer.median)} s "
            f"| {ratio:.1f} | {met} | {runs(own)}, {runs(peer)} |")  # fmt: skip


def said_aim(aim: Aim, seconds: float, ratio: float) -> str:
    wanted = f"≥ {aim.ratio:g}" + (f", < {aim.seconds:g} s" if aim.seconds else "")
    is_met = ratio >= aim.ratio and (aim.seconds is None or seconds < aim.seconds)
    return wanted if is_met else f"{wanted}: **missed**"


def runs(figure: Figure) -> str:
    count = len(figure.values)
    return "1" if count == 1 else f"{count} ({plot.number(min(figure.values))} to {plot.number(max(figure.values))})"


def memory(figure: Figure) -> str:
    return f"{figure.peak_mib:.0f} MiB" if figure.peak_mib else ""


def push_table(figures: list[Figure]) -> str:
    rows = ["| change | side | MiB | of the image | aim |", "|---|---|---|---|---|"]
    whole = {figure.side: figure.median for figure in figures if figure.case == "whole image"}
    for figure in figures:
        share = figure.median / whole[figure.side]
        aim = ""
        if figure.case != "whole image" and figure.side == OWN:
            aim = f"≤ {PUSHED:.0%}" + ("" if share <= PUSHED else ": **missed**")
        rows.append(f"| {figure.case} | {figure.side} | {plot.number(figure.median)} | {share:.1%} | {aim} |")
    return "\n".join(rows)


def phases_table(figures: list[Figure]) -> str:
    rows = ["| phase | seconds | runs |", "|---|---|---|"]
    return "\n".join(rows + [f"| {figure.case} | {plot.number(figure.median)} | {runs(figure)} |" for figure in figures])


def growth_table(figures: list[Figure]) -> str:
    rows = ["| what grows | size | side | seconds | memory | runs |", "|---|---|---|---|---|---|"]
    for figure in sorted(figures, key=lambda one: (list(GROWTH).index(one.case), one.at, one.side != OWN)):
        rows.append(f"| {GROWTH[figure.case]} | {figure.at:g} | {figure.side} | {plot.number(figure.median)} | {memory(figure)} | {runs(figure)} |")
    return "\n".join(rows)


def cases_of(figures: list[Figure]) -> list[str]:
    return list(dict.fromkeys(figure.case for figure in figures))


def draw_bars(docs: Path, question: str, figures: list[Figure]) -> str:
    unit = "MiB" if question == "push" else "seconds"
    cases = [(case, [(one.side, one.median) for one in figures if one.case == case]) for case in cases_of(figures)]
    return draw(docs, question, plot.bars(TITLES[question], unit, cases))


def draw_growth(docs: Path, figures: list[Figure]) -> str:
    plots = []
    for case, label in GROWTH.items():
        points = sorted((figure for figure in figures if figure.case == case), key=lambda one: one.at)
        if points:
            plots += draw_case(docs, case, label, points)
    return "\n".join(plots)


def draw_case(docs: Path, case: str, label: str, points: list[Figure]) -> list[str]:
    sides = list(dict.fromkeys(figure.side for figure in points))
    seconds = {side: [(one.at, one.median) for one in points if one.side == side] for side in sides}
    memory = {OWN: [(one.at, one.peak_mib) for one in points if one.side == OWN]}
    return [
        draw(docs, f"growth-{case}", plot.lines(f"Time by {label}", label, "seconds", seconds)),
        draw(docs, f"memory-{case}", plot.lines(f"Memory by {label}", label, "MiB, largest process", memory)),
    ]


def draw(docs: Path, name: str, svg: str) -> str:
    """Writes a plot, and says how the page shows it."""
    path = docs / "performance" / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg)
    return f"![{name}](performance/{name}.svg)"


TABLES: dict[str, Callable[[list[Figure]], str]] = {"push": push_table}
