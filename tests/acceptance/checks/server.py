"""The server itself: starts, is healthy, answers JSON, stops. No store and no registry can be reached."""

import json
from collections.abc import Mapping
from typing import Any

from checks.common import PYTHON, ask, running, wait_for_health, wait_until
from places import IDLE, SERVER, Place, PlaceMaker
from report import Report, expect

CHECKS = (
    "server-healthy-in-start-period",
    "server-health-is-json",
    "server-config-is-json",
    "server-config-keeps-every-key",
    "config-valid-against-own-schema",
    "plugin-tool-listed",
    "graphiti-server-connected",
    "server-runs-the-promised-command",
    "image-verify",
    "engine-says-healthy-in-start-period",
    "sigterm-stops-in-5-s",
)
ALONE_CHECKS = ("server-starts-without-start-script",)
PASSWORD_CHECKS = ("password-is-required", "healthcheck-sends-password", "password-is-kept-from-shells")
HEALTHCHECK_CHECKS = (
    "healthcheck-without-server",
    "healthcheck-refuses-a-page",
    "healthcheck-ends-in-time",
    "healthcheck-deep-names-the-store",
)
START_CHECKS = ("start-refuses-unreadable-secret", "start-refuses-bad-schedule")

CONFIG = "/root/.config/opencode/opencode.json"
PASSWORD = 'pass "word\\ 1'


def check_server(report: Report, maker: PlaceMaker) -> None:
    with report.group(CHECKS):
        place = maker.boot()
        try:
            _check_started(report, place)
            _check_config(report, place)
            with report.check("image-verify"):
                done = place.run(["/app/scripts/verify", "--build"], timeout=90)
                expect(done.code == 0, done.text)
            with report.check("engine-says-healthy-in-start-period") as details:
                details.append(_check_health(place, maker.image_config().raw))
            with report.check("sigterm-stops-in-5-s") as details:
                details.append(f"ended after {place.stop(5):.1f} s")
        finally:
            place.close()


def _check_health(place: Place, config: Mapping[str, Any] | None) -> str:
    """The engine's own word; without an engine, what it would run."""
    if place.health() is None:
        expect(config is not None, "the image's configuration was not given (--image-config)")
        kind, *command = config["Healthcheck"]["Test"]
        done = place.run(command if kind == "CMD" else ["/bin/sh", "-c", *command])
        expect(done.code == 0, done.text)
        return "no engine: the health check was run as the image says"
    wait_until(lambda: place.health().status != "starting", 60, "the engine has an answer")
    health = place.health()
    expect(health.status == "healthy" and health.healthy_after_seconds <= 40, str(health))
    return f"healthy {health.healthy_after_seconds:.1f} s after the start"


def _check_started(report: Report, place: Place) -> None:
    with report.check("server-healthy-in-start-period") as details:
        details.append(f"healthy after {wait_for_health(place):.1f} s")
    with report.check("server-health-is-json") as details:
        health = ask(place, "/global/health")
        expect(health.get("healthy") is True, str(health))
        details.append(f"OpenCode {health['version']}")
    with report.check("plugin-tool-listed"):
        tools = ask(place, "/experimental/tool/ids")
        expect("image_status" in tools, str(tools))
    with report.check("graphiti-server-connected"):
        state = ask(place, "/mcp")
        expect(state.get("graphiti", {}).get("status") == "connected", str(state))
    with report.check("server-runs-the-promised-command"):
        first = place.run(["cat", "/proc/1/cmdline"]).out.split("\0")[:-1]
        expect(first == ["tini", "-g", "--", *SERVER], f"the first process is {first}")
        # ddtrace-run becomes opencode, which leaves its mark in the environment of all children.
        found = place.run(["sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done"]).out
        expect("opencode serve --hostname 0.0.0.0 --port 4096" in found, found[:300])


def _check_config(report: Report, place: Place) -> None:
    written = json.loads(place.run(["cat", CONFIG]).out)
    with report.check("server-config-is-json"):
        config = ask(place, "/config")
        expect(config.get("autoupdate") is False and config.get("share") == "disabled", str(config)[:300])
    with report.check("server-config-keeps-every-key"):
        # OpenCode drops what it does not know without a word.
        config = ask(place, "/config")
        for name, value in written.items():
            expect(config.get(name) == value, f"{name} is {config.get(name)!r}")
    with report.check("config-valid-against-own-schema"):
        place.run(["curl", "--silent", "--fail", "--output", "/tmp/doc.json", "http://127.0.0.1:4096/doc"])
        done = place.run([PYTHON, "-I", "/acceptance/lint_config.py", CONFIG, "/tmp/doc.json"])
        expect(done.code == 0, done.text)


def check_alone(report: Report, maker: PlaceMaker) -> None:
    """The server by itself, as someone would run it who overrides the entry point."""
    with report.group(ALONE_CHECKS):
        place = maker.boot(command=SERVER)
        try:
            with report.check("server-starts-without-start-script") as details:
                details.append(f"healthy after {wait_for_health(place):.1f} s")
                expect("image_status" in ask(place, "/experimental/tool/ids"), "the plugin is not loaded")
        finally:
            place.close()


def check_password(report: Report, maker: PlaceMaker) -> None:
    with report.group(PASSWORD_CHECKS):
        place = maker.boot({"OPENCODE_SERVER_PASSWORD": PASSWORD})
        try:
            with report.check("healthcheck-sends-password"):
                wait_for_health(place)
            with report.check("password-is-required"):
                done = place.run(["curl", "--silent", "--write-out", "%{http_code}", "http://127.0.0.1:4096/config"])
                expect(done.out.endswith("401"), done.out[-200:])
                wrong = place.run(["/app/scripts/healthcheck"], {"OPENCODE_SERVER_PASSWORD": "wrong"})
                expect(wrong.code == 1 and "401" in wrong.text, wrong.text)
            with report.check("password-is-kept-from-shells"):
                _check_shell(place)
        finally:
            place.close()


def _check_shell(place: Place) -> None:
    session = ask(place, "/session", {}, password=PASSWORD)["id"]
    # A Python that does not have ddtrace would complain about the hook in PYTHONPATH.
    command = 'env; /usr/bin/python3 -c \'print("python" + "-runs")\''
    ask(place, f"/session/{session}/shell", {"agent": "build", "command": command}, password=PASSWORD)
    said = json.dumps(ask(place, f"/session/{session}/message", password=PASSWORD))
    expect("FALKORDB_HOST=localhost" in said, f"the shell showed no environment: {said[-300:]}")
    expect("ddtrace/bootstrap" not in said, "PYTHONPATH reaches the shell")
    expect('pass \\\\\\"word' not in said and "word\\\\\\\\ 1" not in said, "the server's password reaches the shell")
    expect("python-runs" in said and "sitecustomize" not in said, f"Python in the shell: {said[-300:]}")


def check_healthcheck(report: Report, maker: PlaceMaker) -> None:
    with report.group(HEALTHCHECK_CHECKS):
        place = maker.boot(command=IDLE)
        try:
            with report.check("healthcheck-without-server"):
                _expect_unhealthy(place, "/global/health")
            with report.check("healthcheck-refuses-a-page"), running(place, _web_server("text/html", 0)):
                _wait_for_port(place)
                _expect_unhealthy(place, "text/html")
            with report.check("healthcheck-ends-in-time"), running(place, _web_server("application/json", 60)):
                _wait_for_port(place)
                _expect_unhealthy(place, "timed out")
            with report.check("healthcheck-deep-names-the-store"), running(place, _web_server("application/json", 0)):
                _wait_for_port(place)
                _expect_unhealthy(place, "FalkorDB at localhost:6379", "--deep")
        finally:
            place.close()


def _expect_unhealthy(place: Place, reason: str, *options: str) -> None:
    done = place.run(["/app/scripts/healthcheck", *options], timeout=10)
    expect(done.code == 1, f"exit code {done.code}: {done.text}")
    expect(done.err.startswith("unhealthy: ") and reason in done.err, done.text)
    expect(done.err.count("\n") == 1, f"more than one line: {done.text}")


def _web_server(content_type: str, delay: int) -> list[str]:
    program = f"""
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep({delay})
        self.send_response(200)
        self.send_header("Content-Type", "{content_type}")
        self.end_headers()
        self.wfile.write(b"{{}}")
http.server.ThreadingHTTPServer(("127.0.0.1", 4096), Handler).serve_forever()
"""
    return [PYTHON, "-I", "-c", program]


def _wait_for_port(place: Place) -> None:
    wait_until(lambda: place.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4096"]).code == 0, 10, "port 4096 opens")


def check_start(report: Report, maker: PlaceMaker) -> None:
    with report.group(START_CHECKS):
        place = maker.boot(command=IDLE)
        try:
            with report.check("start-refuses-unreadable-secret"):
                done = place.run(["/app/scripts/start"], {"OPENAI_API_KEY_FILE": "/run/secrets/none"})
                expect(
                    done.code == 2 and "OPENAI_API_KEY_FILE" in done.err and "/run/secrets/none" in done.err, done.text
                )
            with report.check("start-refuses-bad-schedule"):
                done = place.run(
                    ["/app/scripts/start"], {"BACKUP_TARGET": "/tmp/x", "BACKUP_SCHEDULE": "* * * * * root rm"}
                )
                expect(done.code == 2 and "BACKUP_SCHEDULE" in done.err, done.text)
        finally:
            place.close()
