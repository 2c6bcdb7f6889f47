"""Choosing versions: `oclock update` beside npm, uv and apt, one after the other, on the same requirements."""

import json
import shutil

from benchmark.measure import Bench, Side, compare
from benchmark.trees import uv_program
from lib.commands import run
from lib.debian import sources
from lib.project import Project


def measure_update(bench: Bench) -> None:
    """With nothing kept, and again with nothing changed."""
    project = Project(bench.work / "update/project", bench.work / "update/store")
    peers = Peers(bench, project)

    def forget() -> None:
        shutil.rmtree(project.store, ignore_errors=True)
        (project.directory / "lockfile.toml").unlink(missing_ok=True)

    update = lambda: project.oclock("--quiet", "update")
    compare(bench, "update", "cold", [Side("oclock", update, forget), Side("npm, uv and apt", peers.run, peers.forget)])
    compare(bench, "update", "again", [Side("oclock", update), Side("npm, uv and apt", peers.run)])


class Peers:
    """The three clients with caches of their own."""

    def __init__(self, bench: Bench, project: Project):
        self.place, self.manifest = bench.work / "peers", project.manifest
        self.uv = uv_program(bench.work)
        self.forget()

    def forget(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        apt = self.place / "apt"
        for part in ("state/lists/partial", "cache/archives/partial", "etc"):
            (apt / part).mkdir(parents=True)
        (apt / "status").touch()
        (apt / "etc/sources.list").write_text(sources("trixie"))
        npm, pip = self.manifest["npm"], self.manifest["pip"]
        packages = dict(npm.get("packages", {}))
        for section in npm.get("projects", {}).values():
            packages.update(section)
        (self.place / "npm").mkdir()
        (self.place / "npm/package.json").write_text(json.dumps({"name": "x", "version": "1.0.0", "dependencies": packages}))
        (self.place / "requirements.in").write_text("\n".join(pip["packages"]) + "\n")
        (self.place / "constraints.txt").write_text("\n".join(pip.get("constraints", [])) + "\n")

    def run(self) -> None:
        run("npm", "install", "--package-lock-only", "--cache", self.place / "npm-cache", cwd=self.place / "npm")
        run(self.uv, "pip", "compile", "--quiet", "--generate-hashes", "--python-version", "3.13", "--python-platform",
            "x86_64-unknown-linux-gnu", "--cache-dir", self.place / "uv-cache", "--constraint", self.place / "constraints.txt",
            "--output-file", self.place / "requirements.txt", self.place / "requirements.in")
        apt = self.place / "apt"
        settings = [f"-oDir::State={apt}/state", f"-oDir::State::status={apt}/status", f"-oDir::Cache={apt}/cache",
                    f"-oDir::Etc::SourceList={apt}/etc/sources.list", "-oDir::Etc::SourceParts=/dev/null",
                    "-oAPT::Architecture=amd64", "-oAPT::Sandbox::User=root"]  # fmt: skip
        run("apt-get", *settings, "-qq", "update")
        run("apt-get", *settings, "-qq", "--no-install-recommends", "--print-uris", "install", "base-files", "dpkg", "bash",
            *self.manifest["apt"]["packages"])
