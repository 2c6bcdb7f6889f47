"""What was measured, as JSON lines: one a figure, so that a question measured again replaces its own and no other."""

import json
import os
import platform
import re
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib.commands import is_there


@dataclass(frozen=True)
class Figure:
    """One side of one case of a question."""

    question: str
    case: str
    side: str
    # Seconds, bytes or MiB, one for each run.
    values: list[float]
    unit: str = "s"
    # Where the case is a point on an axis.
    at: float | None = None
    peak_mib: float | None = None
    # The machine's load before the first run.
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))
    day: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))

    @property
    def key(self) -> tuple:
        return self.question, self.case, self.side, self.at

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Results:
    """The file of figures."""

    def __init__(self, path: Path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.figures = [Figure(**json.loads(line)) for line in lines if '"question"' in line]
        self.machine = next((json.loads(line)["machine"] for line in lines if '"machine"' in line), None)

    def add(self, figure: Figure) -> None:
        self.figures = [known for known in self.figures if known.key != figure.key] + [figure]
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"machine": self.machine})] + [json.dumps(compact(figure)) for figure in self.figures]
        self.path.write_text("\n".join(lines) + "\n")

    def of(self, question: str) -> list[Figure]:
        return [figure for figure in self.figures if figure.question == question]

    def one(self, question: str, case: str, side: str) -> Figure | None:
        return next((figure for figure in self.of(question) if (figure.case, figure.side) == (case, side)), None)


def compact(figure: Figure) -> dict:
    fields = {name: value for name, value in asdict(figure).items() if value is not None}
    fields["values"] = [round(value, 3) for value in figure.values]
    if figure.peak_mib is not None:
        fields["peak_mib"] = round(figure.peak_mib)
    return fields


VERSIONS = {
    "docker": (["docker", "version", "--format", "{{.Server.Version}}"], r"\d[\w.]*"),
    "buildah": (["buildah", "--version"], r"\d[\w.]*"),
    "skopeo": (["skopeo", "--version"], r"\d[\w.]*"),
    "mmdebstrap": (["mmdebstrap", "--version"], r"\d[\w.]*"),
    "npm": (["npm", "--version"], r"\d[\w.]*"),
}


def describe_machine() -> dict:
    """Processor, cores, memory, kernel, system, file system and the peers' versions."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 2**20
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return {
        "processor": cpu.group(1) if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "system": system.group(1) if system else "Linux",
        "programs": {name: version(*asked) for name, asked in VERSIONS.items() if is_there(asked[0][0])},
    }


def version(command: list[str], pattern: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(pattern, said)
    return found.group(0) if found else "unknown"
