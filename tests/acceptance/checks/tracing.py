"""What Datadog gets: spans of the Python children of the server. The server itself sends nothing."""

from checks import session
from checks.common import FALKORDB, PYTHON, VALKEY, Program, ask, start_llm, start_store, wait_for_health, wait_until
from places import Place, PlaceMaker
from report import Report

CHECKS = ("agent-receives-telemetry", "agent-receives-spans-of-the-graphiti-server", "nothing-breaks-without-an-agent")
NOTES = "/tmp/agent.txt"
# Telemetry is sent at once instead of every minute, so that the check need not wait for one.
ENVIRONMENT = {**session.ENVIRONMENT, "DD_SERVICE": "opencode", "DD_TELEMETRY_HEARTBEAT_INTERVAL": "2"}


def check_tracing(report: Report, maker: PlaceMaker) -> None:
    with report.group(CHECKS):
        place = maker.boot(ENVIRONMENT)
        try:
            agent = Program(place, [PYTHON, "-I", "/acceptance/fake_agent.py", NOTES])
            start_store(place, FALKORDB)
            start_store(place, VALKEY)
            start_llm(place)
            wait_for_health(place)
            ask(place, "/mcp")
            _check_agent(report, place)
            agent.stop()
            _check_without_agent(report, place)
        finally:
            place.close()


def _check_agent(report: Report, place: Place) -> None:
    with report.check("agent-receives-telemetry"):
        # Nothing but the Graphiti server, which OpenCode started, is a traced process here.
        wait_until(lambda: any("telemetry" in line for line in _notes(place)), 20, "telemetry reaches the agent")
    with report.check("agent-receives-spans-of-the-graphiti-server"):
        session.use_tool(place, "graphiti_status")
        wait_until(
            lambda: any("/traces" in line and "redis" in line for line in _notes(place)),
            20,
            "spans of redis reach the agent",
        )


def _check_without_agent(report: Report, place: Place) -> None:
    with report.check("nothing-breaks-without-an-agent"):
        session.use_tool(place, "graphiti_status")
        wait_for_health(place, 10)


def _notes(place: Place) -> list[str]:
    return place.run(["sh", "-c", f"cat {NOTES} 2>/dev/null"]).out.splitlines()
