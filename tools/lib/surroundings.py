"""What a build must not depend on: the variations of Debian's reprotest, one by one, by the same means."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib.commands import run

ENGINES = ("native", "buildah-oci", "buildah-chroot", "docker-classic", "docker-buildkit")
BUILDER = "oclock-builder"
# What programs that take part in a build are known to listen to.
VARIABLES = {
    "CAPTURE_ENVIRONMENT": "I capture the environment",
    "CFLAGS": "-O0",
    "DEBIAN_FRONTEND": "readline",
    "GZIP": "-9",
    "NODE_ENV": "production",
    "NODE_OPTIONS": "--max-old-space-size=512",
    "PIP_NO_COMPILE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONOPTIMIZE": "2",
    "SOURCE_DATE_EPOCH": "1",
    "TAR_OPTIONS": "--sort=none --owner=daemon",
    "XZ_OPT": "-0",
    "ZSTD_CLEVEL": "19",
    "npm_config_umask": "0077",
}


@dataclass(frozen=True)
class Surroundings:
    """One build: where it is done, with which words before the command and which environment."""

    # Scratch of this build.
    place: Path
    engine: str
    words: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    # Where the project is, below `place`.
    project: str = "project"
    # An ordinary user who does it.
    user: str | None = None
    # Whether the project's directory is seen through disorderfs.
    is_shuffled: bool = False

    def with_words(self, *words: str) -> "Surroundings":
        return replace(self, words=(*words, *self.words))

    def with_variables(self, **variables: str) -> "Surroundings":
        return replace(self, environment={**self.environment, **variables})


def shell(text: str) -> tuple[str, ...]:
    """Words that change something about themselves and become the rest of the command."""
    return ("sh", "-c", f'{text} && exec "$@"', "sh")


HOST = "hostname elsewhere.invalid && domainname elsewhere.invalid"
VARIATIONS: dict[str, Callable[[Surroundings], Surroundings]] = {
    "environment": lambda one: one.with_variables(**VARIABLES),
    "build path": lambda one: replace(one, project="elsewhere/with a space/ünï/project"),
    "aslr": lambda one: one.with_words("setarch", "--addr-no-randomize"),
    "cpus": lambda one: one.with_words("taskset", "--cpu-list", "0"),
    "time": lambda one: one.with_words("faketime", "--exclude-monotonic", "-f", "+373days+7hours+13minutes"),
    "user": lambda one: replace(one, user=BUILDER).with_variables(HOME=f"/home/{BUILDER}", USER=BUILDER),
    "file order": lambda one: replace(one, is_shuffled=True),
    "host name": lambda one: one.with_words("unshare", "--uts", *shell(HOST)),
    "home": lambda one: one.with_variables(HOME=str(one.place / "tmp/elsewhere")),
    "locale": lambda one: one.with_variables(LANG="et_EE.UTF-8", LC_ALL="et_EE.UTF-8", LANGUAGE="et_EE:fr"),
    "exec path": lambda one: one.with_variables(PATH=f"/i/capture/the/path:{one.environment['PATH']}"),
    "time zone": lambda one: one.with_variables(TZ="GMT-14"),
    "umask": lambda one: one.with_words(*shell("umask 0002")),
    "kernel": lambda one: one.with_words("setarch", "linux32", "--uname-2.6"),
}


# oclock refuses these by name.
NEEDS_ROOT = ("buildah-oci", "buildah-chroot")


def can(variation: str, engine: str) -> bool:
    return variation != "user" or engine not in NEEDS_ROOT


def everything(one: Surroundings) -> Surroundings:
    """All of them at once that the engine can."""
    for name, vary in VARIATIONS.items():
        one = vary(one) if can(name, one.engine) else one
    return one


class Builder:
    """An ordinary user with subordinate IDs, who may use docker and is gone at the end."""

    def __enter__(self) -> "Builder":
        self.is_made = not is_user(BUILDER)
        if self.is_made:
            run("useradd", "--create-home", "--add-subids-for-system", BUILDER)
            if subprocess.run(["getent", "group", "docker"], capture_output=True).returncode == 0:
                run("usermod", "--append", "--groups", "docker", BUILDER)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_made:
            subprocess.run(["userdel", "--remove", BUILDER], capture_output=True)


def is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def as_user(name: str, command: list[str]) -> list[str]:
    return ["setpriv", "--reuid", name, "--regid", str(pwd.getpwnam(name).pw_gid), "--init-groups", "--", *command]


class Disordered:
    """A directory seen through disorderfs, whose entries come in another order each time.

    `apart` is a directory in it that is seen as it is: FUSE does not let an ordinary user's room have files of other owners.
    """

    def __init__(self, directory: Path, apart: str | None = None):
        self.directory, self.behind = directory, directory.with_name(directory.name + ".behind")
        self.apart = apart

    def __enter__(self) -> None:
        shutil.move(self.directory, self.behind)
        self.directory.mkdir()
        run("disorderfs", "--quiet", "--multi-user=yes", "--shuffle-dirents=yes", "--reverse-dirents=no", self.behind, self.directory)
        if self.apart:
            run("mount", "--bind", self.behind / self.apart, self.directory / self.apart)

    def __exit__(self, *_: object) -> None:
        if self.apart:
            run("umount", self.directory / self.apart)
        run("fusermount", "-u", self.directory)
        self.directory.rmdir()
        shutil.move(self.behind, self.directory)
