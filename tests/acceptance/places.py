"""Where the checks run: a started image without any network but loopback, and ways to act in it.

Two kinds with the same interface, so that the same checks run both ways: a root filesystem directory entered by
namespaces and chroot, and a container of an engine. Both lay two things into the started image:

    /acceptance         the programs of inside/
    /acceptance-stores  the directory of prepare_stores.py

A place is made for each group of checks and thrown away after it; the root filesystem itself is never written to.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from report import Failed

INSIDE = Path(__file__).parent / "inside"
# What Containerfile.in promises; with --image-config the checks run with what the image really says instead.
PROMISED_ENVIRONMENT = {
    "PATH": "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "FALKORDB_HOST": "localhost",
    "FALKORDB_PORT": "6379",
    "VALKEY_HOST": "localhost",
    "VALKEY_PORT": "6380",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "npm_config_fetch_retries": "0",
    "GRAPHITI_TELEMETRY_ENABLED": "false",
}
SERVER = ["ddtrace-run", "opencode", "serve", "--hostname", "0.0.0.0", "--port", "4096"]
PROMISED_ENTRYPOINT = ["/app/scripts/start", *SERVER]
IDLE = ["/bin/sleep", "infinity"]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return (self.out + self.err).strip()


@dataclass(frozen=True)
class ImageConfig:
    """What the image says about itself; `raw` is None when nobody told, and then the promises stand in."""

    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    raw: Mapping[str, Any] | None


def promised_config() -> ImageConfig:
    return ImageConfig(PROMISED_ENVIRONMENT, PROMISED_ENTRYPOINT, None)


def parse_image_config(text: str) -> ImageConfig:
    """Takes the `config` object of an image's configuration, the same in both media types."""
    raw = json.loads(text)
    environment = dict(line.split("=", 1) for line in raw.get("Env") or [])
    return ImageConfig(environment, raw.get("Entrypoint") or [], raw)


def read_image_config(path: Path) -> ImageConfig:
    return parse_image_config(json.dumps(json.loads(path.read_text(encoding="utf-8"))["config"]))


@dataclass(frozen=True)
class Health:
    """An engine's word: `starting`, `healthy` or `unhealthy`, and how long after the start it first found it healthy."""

    status: str
    healthy_after_seconds: float | None


class Place(Protocol):
    """A started image. Its first process is what `boot` was told to run."""

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] = {}, stdin: str = "", timeout: float = 60
    ) -> Done: ...

    def start(self, command: Sequence[str], environment: Mapping[str, str] = {}) -> subprocess.Popen: ...

    def log(self) -> str:
        """What the first process and its children wrote."""

    def health(self) -> "Health | None":
        """What the engine that started the image says of its health; nothing where there is no engine."""

    def stop(self, patience_seconds: float) -> float:
        """Sends SIGTERM to the first process; gives the seconds it took to end, raises Failed when it did not."""

    def close(self) -> None: ...


class PlaceMaker(Protocol):
    def image_config(self) -> ImageConfig: ...

    def boot(self, environment: Mapping[str, str] = {}, command: Sequence[str] | None = None) -> Place:
        """Starts the image's entry point, or another command, as the first process."""


# Runs as the first process of new namespaces; becomes the image's entry point.
_SETUP = """
set -e
root=$1 work=$2 stores=$3 inside=$4; shift 4
ip link set lo up
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$work/root"
mkdir -p "$work/root/acceptance" "$work/root/acceptance-stores"
mount --bind "$inside" "$work/root/acceptance"
if [ -d "$stores" ]; then
  layers="lowerdir=$stores,upperdir=$work/stores-upper,workdir=$work/stores-work"
  mount -t overlay overlay -o "$layers" "$work/root/acceptance-stores"
fi
mount -t proc proc "$work/root/proc"
mount -t tmpfs -o mode=0755 dev "$work/root/dev"
for name in null zero full random urandom tty; do
  touch "$work/root/dev/$name"; mount --bind "/dev/$name" "$work/root/dev/$name"
done
ln -s /proc/self/fd "$work/root/dev/fd"
mkdir "$work/root/dev/shm"; mount -t tmpfs -o size=64m shm "$work/root/dev/shm"
exec env -i "$@"
"""


class RootPlace:
    def __init__(
        self, root: Path, stores: Path, config: ImageConfig, environment: Mapping[str, str], command: Sequence[str]
    ):
        self._work = Path(tempfile.mkdtemp(prefix="acceptance-"))
        for name in ("root", "upper", "work", "stores-upper", "stores-work"):
            (self._work / name).mkdir()
        self._environment = {"HOME": "/root", **config.environment, **environment}
        self._merged = str(self._work / "root")
        self._log = (self._work / "log").open("wb")
        namespaces = ["--net", "--mount", "--uts", "--ipc", "--pid"]
        directories = [str(root), str(self._work), str(stores), str(INSIDE)]
        first = [*_assignments(self._environment), "chroot", self._merged, *command]
        self._unshare = subprocess.Popen(
            ["unshare", *namespaces, "--fork", "--kill-child", "bash", "-c", _SETUP, "setup", *directories, *first],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._first = self._wait_for_first()

    def _wait_for_first(self) -> int:
        """Finds the first process and waits until it has entered the root."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._unshare.poll() is None:
            found = children.read_text().split()
            if found and _root_of(found[0]) == self._merged:
                return int(found[0])
            time.sleep(0.02)
        raise Failed(f"the place did not start: {self.log()[-300:]}")

    def _enter(self, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        namespaces = ["--net", "--mount", "--uts", "--ipc", "--pid"]
        values = _assignments({**self._environment, **environment})
        enter = ["nsenter", "--target", str(self._first), *namespaces, "--root", "--wdns=/"]
        return [*enter, "/usr/bin/env", "-i", *values, *command]

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] = {}, stdin: str = "", timeout: float = 60
    ) -> Done:
        return _run(self._enter(command, environment), stdin, timeout)

    def start(self, command: Sequence[str], environment: Mapping[str, str] = {}) -> subprocess.Popen:
        return _start(self._enter(command, environment))

    def log(self) -> str:
        return (self._work / "log").read_text(errors="replace")

    def health(self) -> Health | None:
        return None

    def stop(self, patience_seconds: float) -> float:
        start = time.monotonic()
        os.kill(self._first, signal.SIGTERM)
        return _wait(self._unshare, start, patience_seconds)

    def close(self) -> None:
        self._unshare.kill()
        self._unshare.wait()
        self._log.close()
        # The kernel ends the other processes of the namespace in its own time.
        for _ in range(50):
            shutil.rmtree(self._work, ignore_errors=True)
            if not self._work.exists():
                return
            time.sleep(0.1)


@dataclass(frozen=True)
class RootMaker:
    root: Path
    stores: Path
    config: ImageConfig

    def image_config(self) -> ImageConfig:
        return self.config

    def boot(self, environment: Mapping[str, str] = {}, command: Sequence[str] | None = None) -> RootPlace:
        return RootPlace(self.root, self.stores, self.config, environment, command or self.config.entrypoint)


class ContainerPlace:
    def __init__(
        self, engine: str, image: str, stores: Path, environment: Mapping[str, str], command: Sequence[str] | None
    ):
        self._engine = engine
        self._name = f"acceptance-{uuid.uuid4().hex[:12]}"
        options = [option for line in _assignments(environment) for option in ("--env", line)]
        arguments: list[str] = []
        if command:
            options += ["--entrypoint", command[0]]
            arguments = list(command[1:])
        # SYS_CHROOT, which engines grant by default or not, is for the stores only.
        self._call(
            "create", "--name", self._name, "--network", "none", "--cap-add", "SYS_CHROOT", *options, image, *arguments
        )
        self._call("cp", f"{INSIDE}/.", f"{self._name}:/acceptance")
        if stores.is_dir():
            self._call("cp", f"{stores}/.", f"{self._name}:/acceptance-stores")
        self._call("start", self._name)

    def _call(self, *arguments: str) -> str:
        done = _run([self._engine, *arguments], "", 300)
        if done.code != 0:
            raise Failed(f"{self._engine} {arguments[0]}: {done.text[-300:]}")
        return done.out

    def _enter(self, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        options = [option for line in _assignments(environment) for option in ("--env", line)]
        return [self._engine, "exec", "--interactive", *options, self._name, *command]

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] = {}, stdin: str = "", timeout: float = 60
    ) -> Done:
        return _run(self._enter(command, environment), stdin, timeout)

    def start(self, command: Sequence[str], environment: Mapping[str, str] = {}) -> subprocess.Popen:
        return _start(self._enter(command, environment))

    def log(self) -> str:
        return _run([self._engine, "logs", self._name], "", 30).text

    def health(self) -> Health | None:
        state = json.loads(self._call("inspect", "--format", "{{json .State}}", self._name))
        probes = (state.get("Health") or {}).get("Log") or []
        ends = [_moment(probe["End"]) for probe in probes if probe["ExitCode"] == 0]
        after = min(ends) - _moment(state["StartedAt"]) if ends else None
        return Health((state.get("Health") or {}).get("Status", "none"), after)

    def stop(self, patience_seconds: float) -> float:
        start = time.monotonic()
        waiting = subprocess.Popen([self._engine, "wait", self._name], stdout=subprocess.DEVNULL)
        self._call("kill", "--signal", "TERM", self._name)
        return _wait(waiting, start, patience_seconds)

    def close(self) -> None:
        # A daemon under load may miss the end of what it killed, and then keeps the container: docker says to ask again.
        for _ in range(6):
            done = _run([self._engine, "rm", "--force", self._name], "", 60)
            if _run([self._engine, "container", "inspect", self._name], "", 60).code != 0:
                return
            time.sleep(5)
        raise Failed(f"{self._engine} keeps {self._name}: {done.text[-300:]}")


@dataclass(frozen=True)
class ContainerMaker:
    engine: str
    image: str
    stores: Path

    def image_config(self) -> ImageConfig:
        done = _run([self.engine, "image", "inspect", "--format", "{{json .Config}}", self.image], "", 60)
        if done.code != 0:
            raise Failed(done.text[-300:])
        return parse_image_config(done.out)

    def boot(self, environment: Mapping[str, str] = {}, command: Sequence[str] | None = None) -> ContainerPlace:
        return ContainerPlace(self.engine, self.image, self.stores, environment, command)


def _assignments(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def _moment(text: str) -> float:
    """Seconds since 1970 of an engine's time, which has nanoseconds and `Z` or an offset."""
    whole, fraction, offset = re.fullmatch(r"([0-9T:-]{19})(\.[0-9]+)?(Z|[+-][0-9:]{5})", text.replace(" ", "T")).groups()
    return datetime.fromisoformat(whole + offset.replace("Z", "+00:00")).timestamp() + float(fraction or 0)


def _root_of(pid: str) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/root").readlink())
    except OSError:
        return None


def _run(command: Sequence[str], stdin: str, timeout: float) -> Done:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"`{' '.join(command[-3:])[:120]}` did not end within {timeout:.0f} s") from error
    return Done(done.returncode, done.stdout, done.stderr)


def _start(command: Sequence[str]) -> subprocess.Popen:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait(process: subprocess.Popen, start: float, patience_seconds: float) -> float:
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"SIGTERM did not end the first process within {patience_seconds:.0f} s") from error
    return time.monotonic() - start
