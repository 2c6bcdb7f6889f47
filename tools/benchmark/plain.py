"""The same image as a developer writes it by hand: one Dockerfile, the lock's versions, a cache for each package manager."""

import json
import os
import re
import shutil
from pathlib import Path

from benchmark.engines import PREFIX
from lib.commands import run
from lib.debian import CERTIFICATES, make_root
from lib.project import Project

# What tells clients of the machine's certificates; a Dockerfile on the same machine needs the same. They have a place of their
# own, as ca-certificates writes its list anew.
TRUST = [name for name in ("NODE_EXTRA_CA_CERTS", "PIP_CERT", "SSL_CERT_FILE") if name in os.environ]
TRUSTED = "/opt/machine-certificates.crt"


class PlainProject:
    """A directory with a Dockerfile that makes what `project` makes."""

    def __init__(self, project: Project, directory: Path):
        self.project, self.directory = project, directory
        shutil.copytree(project.directory / "context", directory)
        # Debian's own npm would bring 400 packages; the tarball is what a developer would take.
        tarball = run("npm", "pack", "--silent", "npm@10", cwd=directory).output.split()[-1]
        (directory / tarball).rename(directory / "npm.tgz")
        if TRUST:
            shutil.copy(CERTIFICATES, directory / "certificates.crt")
        self.write_pins()
        self.write("0")

    def write_pins(self) -> None:
        """requirements.txt and the npm projects, from the lockfile as it is now."""
        pins = self.project.lock
        lines = [f"{pin['name']}=={pin['version']}\n" for pin in pins["pip"]]
        (self.directory / "requirements.txt").write_text("".join(lines))
        versions = {pin["name"]: pin["version"] for pin in pins["npm"]}
        for number, asked in enumerate(self.npm_projects().values()):
            place = self.directory / f"npm-{number}"
            place.mkdir(exist_ok=True)
            package = {
                "name": "plain",
                "version": "1.0.0",
                "dependencies": {name: versions[name] for name in asked},
                "overrides": {name: version for name, version in versions.items() if name not in asked},
            }
            (place / "package.json").write_text(json.dumps(package, indent=1))

    def npm_projects(self) -> dict:
        return self.project.manifest["npm"].get("projects", {})

    def write(self, cache: str) -> None:
        """Writes the Dockerfile; with another word for `cache`, every package manager starts with nothing."""
        manifest = self.project.manifest
        versions = {pin["name"]: pin["version"] for pin in self.project.lock["npm"]}
        packages = [f"{name}@{versions[name]}" for name in manifest["npm"]["packages"]]
        kept = lambda name, target: f"--mount=type=cache,id={PREFIX}-{name}-{cache},target={target}"
        npm = f"RUN {kept('npm', '/root/.npm')} node /opt/npm/package/bin/npm-cli.js install --no-audit --no-fund"
        # The steps of oclock's own template after its last placeholder for packages.
        steps = (self.project.directory / "Containerfile.in").read_text().split("{{ pip.install }}")[1]
        projects = []
        for number, place in enumerate(self.npm_projects()):
            projects += [f"COPY npm-{number}/package.json {place}/", f"{npm} --prefix {place}"]
        venv = manifest["pip"]["path"]
        lines = [
            f"FROM {PREFIX}-base",
            *([f"COPY certificates.crt {TRUSTED}"] if TRUST else []),
            *(f"ENV {name}={TRUSTED}" for name in TRUST),
            f"RUN {kept('apt', '/var/cache/apt')} {kept('lists', '/var/lib/apt/lists')} "
            "rm -f /etc/apt/apt.conf.d/docker-clean && apt-get update -qq && DEBIAN_FRONTEND=noninteractive "
            "apt-get install -y -qq --no-install-recommends " + " ".join(manifest["apt"]["packages"]),
            "ADD npm.tgz /opt/npm/",
            f"{npm} --global {' '.join(packages)}",
            *projects,
            "COPY requirements.txt /tmp/",
            f"RUN {kept('pip', '/root/.cache/pip')} python3 -m venv {venv} && "
            f"{venv}/bin/pip install --quiet --no-deps -r /tmp/requirements.txt",
            re.sub(r'"?\{\{.*?\}\}"?', "x", steps),
        ]
        (self.directory / "Dockerfile").write_text("\n".join(lines))


def make_base(work: Path) -> Path:
    """Debian's smallest system as a tar, for the Dockerfile to stand on."""
    tar = work / "base.tar"
    if not tar.exists():
        make_root("trixie", tar)
    return tar
