"""docker and buildah as somebody uses them without oclock."""

import os
import shutil
import subprocess
from pathlib import Path

from lib.commands import Run, is_there, run

PREFIX = "oclock-bench"


class Docker:
    """BuildKit in the docker daemon."""

    name, flag, program = "docker, BuildKit", "docker-buildkit", "docker"

    def __init__(self):
        # A client that needs a plugin for BuildKit is passed over for one that does not.
        self.client = "docker" if has_buildx() else "/usr/bin/docker"

    def import_base(self, tar: Path) -> None:
        run(self.client, "import", tar, f"{PREFIX}-base")

    def build(self, directory: Path, *flags: str, tag: str = "plain") -> Run:
        return run(self.client, "build", "--network", "host", "--tag", f"{PREFIX}-{tag}", *flags, directory,
                   env={**os.environ, "DOCKER_BUILDKIT": "1"})

    def write_oci(self, tag: str, target: Path) -> Run:
        # The daemon keeps no OCI layout of its own; skopeo is what writes one from it.
        return run("skopeo", "copy", "--quiet", "--insecure-policy", f"docker-daemon:{PREFIX}-{tag}:latest", f"oci:{target}:x")

    def remove(self, *tags: str) -> None:
        for tag in tags:
            subprocess.run([self.client, "image", "rm", "--force", f"{PREFIX}-{tag}"], capture_output=True)


class Buildah:
    """buildah with layers kept, as `docker build` does it."""

    name, flag, program = "buildah", "buildah", "buildah"

    def import_base(self, tar: Path) -> None:
        container = run("buildah", "from", "scratch").output.strip()
        run("buildah", "add", container, tar, "/")
        run("buildah", "commit", "--rm", container, f"{PREFIX}-base")

    def build(self, directory: Path, *flags: str, tag: str = "plain") -> Run:
        return run("buildah", "build", "--layers", "--network", "host", "--tag", f"{PREFIX}-{tag}", *flags, directory)

    def write_oci(self, tag: str, target: Path) -> Run:
        return run("buildah", "push", "--quiet", f"{PREFIX}-{tag}", f"oci:{target}:x")

    def remove(self, *tags: str) -> None:
        for tag in tags:
            subprocess.run(["buildah", "rmi", "--force", f"{PREFIX}-{tag}"], capture_output=True)


def has_buildx() -> bool:
    return subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode == 0


def usable() -> list[Docker | Buildah]:
    """Those of the two that answer here."""
    found: list[Docker | Buildah] = []
    if is_there("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        found.append(Docker())
    if is_there("buildah"):
        found.append(Buildah())
    return found


def path_with(program: str, directory: Path) -> str:
    """A PATH on which this is the only engine, so that oclock loads the image there, and the system's pip, which tells its index."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (program, "newuidmap", "newgidmap", "runc", "tar", "pip", "unshare"):
        if (found := shutil.which(name, path=f"/usr/bin:/usr/sbin:{os.environ['PATH']}")) and not (directory / name).exists():
            (directory / name).symlink_to(found)
    return str(directory)
