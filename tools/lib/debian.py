"""Debian as this machine has it: where its packages come from, and roots made of them by mmdebstrap."""

import re
from pathlib import Path

from lib.commands import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# A mirror that lags behind is good enough for a root that nothing is taken from; signatures are checked all the same.
LAGGING = "Acquire::Check-Valid-Until \"false\""


def sources(suite: str) -> str:
    """The lines of sources.list for a suite, from where this machine has its own packages."""
    lines = []
    for file in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in file.read_text().split("\n\n"):
            fields = dict(re.findall(r"(?m)^([A-Za-z-]+): *(.*)$", stanza))
            key = fields.get("Signed-By", KEYRING)
            if "debian-archive" in key and "Suites" in fields:
                release = fields["Suites"].split()[0].removesuffix("-security")
                suites = [suite] if suite == "sid" else [one.replace(release, suite) for one in fields["Suites"].split()]
                lines += [f"deb [signed-by={key}] {fields['URIs'].split()[0]} {one} main" for one in suites]
    # sid has no security archive of its own.
    return "\n".join(lines[:1] if suite == "sid" else lines) + "\n"


def make_root(suite: str, target: Path, packages: list[str] = []) -> None:
    """A root directory, or a tar where the name ends so, with the smallest system and these packages."""
    include = [f"--include={','.join(packages)}"] if packages else []
    run("mmdebstrap", "--quiet", "--variant=minbase", f"--aptopt={LAGGING}", *include, suite, target, "-",
        text=sources(suite))
