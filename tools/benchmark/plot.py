"""Plots as SVG, readable on light and dark pages: bars for sides of cases, lines for growth."""

import itertools
import math
from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP = 760, 250, 90, 16, 14
# oclock's sides are green, its peers' are not.
OWN, PEERS = ("#0a7d78", "#3fa7a0", "#7cc4be", "#2f6f4f", "#79a883"), ("#c2571a", "#e08e45", "#a8794f", "#7a6bb0")
STYLE = """<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 14px; font-weight: 600; }
  .axis { stroke: #8c959f; fill: none; }
  .grid { stroke: #8c959f; stroke-opacity: .3; }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } }
</style>"""

Point = tuple[float, float]


def number(value: float) -> str:
    """Two or three figures, which is all that the measurement is worth."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bars(title: str, unit: str, cases: list[tuple[str, list[tuple[str, float]]]]) -> str:
    """Groups of bars on a logarithmic axis, as the sides are often a hundredfold apart."""
    values = [value for _, sides in cases for _, value in sides if value > 0]
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values) * 1.01))
    scale = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * math.log10(max(value, low) / low) / math.log10(high / low)
    colours = choose_colours([side for _, sides in cases for side, _ in sides])
    body, top = [], 52
    for case, sides in cases:
        body.append(text(14, top + 12, case, weight="600"))
        for side, value in sides:
            body.append(f'<rect x="{LEFT}" y="{top}" width="{max(scale(value) - LEFT, 1):.1f}" height="{BAR - 3}" fill="{colours[side]}"/>')
            body.append(text(LEFT - 6, top + 11, side, anchor="end"))
            body.append(text(max(scale(value), LEFT + 1) + 5, top + 11, number(value)))
            top += BAR
        top += GAP
    ticks = [10**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    grid = [f'<line class="grid" x1="{scale(tick):.1f}" y1="44" x2="{scale(tick):.1f}" y2="{top}"/>' for tick in ticks]
    labels = [text(scale(tick), top + 16, f"{tick:g}", anchor="middle") for tick in ticks]
    labels.append(text((LEFT + WIDTH - RIGHT) / 2, top + 34, f"{unit}, logarithmic; shorter is better", anchor="middle"))
    return document(title, top + 46, [*grid, *body, *labels])


def lines(title: str, x_label: str, y_label: str, series: dict[str, list[Point]]) -> str:
    """Lines through points on axes that start at nothing."""
    height, left, top, bottom = 320, 70, 40, 270
    right = WIDTH - 210
    far = max(x for points in series.values() for x, _ in points) * 1.05
    steps = tick_values(max(y for points in series.values() for _, y in points))
    place_x = lambda x: left + (right - left) * x / far
    place_y = lambda y: bottom - (bottom - top) * y / steps[-1]
    body = [f'<polyline class="axis" points="{left},{top} {left},{bottom} {right},{bottom}"/>']
    for step in steps:
        body.append(f'<line class="grid" x1="{left}" y1="{place_y(step):.1f}" x2="{right}" y2="{place_y(step):.1f}"/>')
        body.append(text(left - 6, place_y(step) + 4, f"{step:g}", anchor="end"))
    for x in sorted({x for points in series.values() for x, _ in points}):
        body.append(text(place_x(x), bottom + 16, f"{x:g}", anchor="middle"))
    colours = choose_colours(list(series))
    for index, (name, points) in enumerate(series.items()):
        colour = colours[name]
        path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        body.append(f'<rect x="{right + 20}" y="{top + 20 * index}" width="12" height="12" fill="{colour}"/>')
        body.append(text(right + 38, top + 20 * index + 10, name))
    body.append(text((left + right) / 2, bottom + 38, x_label, anchor="middle"))
    body.append(f'<text transform="translate(18 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    return document(title, height, body)


def choose_colours(sides: list[str]) -> dict[str, str]:
    names = dict.fromkeys(sides)
    own = [name for name in names if name.startswith("oclock")]
    peers = [name for name in names if name not in own]
    pairs = [*zip(own, itertools.cycle(OWN)), *zip(peers, itertools.cycle(PEERS))]
    return dict(pairs)


def tick_values(most: float) -> list[float]:
    """From 0 to at least `most`, in four to eight round steps."""
    unit = 10 ** math.floor(math.log10(most))
    step = next(unit * part for part in (0.2, 0.5, 1, 2) if most / (unit * part) <= 7)
    return [round(step * index, 6) for index in range(math.ceil(most / step) + 1)]


def text(x: float, y: float, words: str, anchor: str = "start", weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{bold}>{escape(words)}</text>'


def document(title: str, height: float, body: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, STYLE, f'<text class="title" x="14" y="24">{escape(title)}</text>', *body, "</svg>", ""])
