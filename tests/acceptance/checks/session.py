"""A whole session on the started server, with a fake language model: into the memory, with stores and without."""

import json
from typing import Any

from checks.common import (
    FAKE_LLM,
    FALKORDB,
    LLM_PORT,
    MEMORY,
    VALKEY,
    ask,
    start_llm,
    start_store,
    wait_for_health,
    wait_until,
)
from places import Place, PlaceMaker
from report import Report, expect

CHECKS = (
    "session-is-recorded-as-an-episode",
    "session-status-tool-runs-unasked",
    "session-memory-tool-runs-unasked",
    "session-shell-tool-asks-first",
    "session-works-without-stores",
    "session-recording-failure-is-logged",
)

MODEL = {"providerID": "fake", "modelID": "fake"}
PROVIDER = {
    "npm": "@ai-sdk/openai-compatible",
    "name": "Fake",
    "options": {"baseURL": f"http://127.0.0.1:{LLM_PORT}/v1", "apiKey": "none"},
    "models": {"fake": {"name": "Fake", "tool_call": True}},
}
# As a deployment adds its provider: on top of the image's config.json.
DEPLOYMENT = {"provider": {"fake": PROVIDER}, "model": "fake/fake", "small_model": "fake/fake"}
ENVIRONMENT = {**FAKE_LLM, "OPENCODE_CONFIG_CONTENT": json.dumps(DEPLOYMENT)}
LOG = "/root/.local/share/opencode/log"


def check_session(report: Report, maker: PlaceMaker) -> None:
    with report.group(CHECKS):
        place = maker.boot(ENVIRONMENT)
        try:
            stores = [start_store(place, FALKORDB), start_store(place, VALKEY)]
            start_llm(place)
            wait_for_health(place)
            _check_with_stores(report, place)
            for store in stores:
                store.stop()
            _check_without_stores(report, place)
        finally:
            place.close()


def _check_with_stores(report: Report, place: Place) -> None:
    with report.check("session-is-recorded-as-an-episode") as details:
        said = _talk(place, _open(place), "remember the codeword mulberry")
        expect("The quokka is in Perth." in json.dumps(said), json.dumps(said)[-300:])
        seconds = wait_until(lambda: "codeword mulberry" in _search(place, "mulberry"), 60, "the episode is found")
        details.append(f"found after {seconds:.1f} s")
    with report.check("session-status-tool-runs-unasked"):
        output = use_tool(place, "image_status")
        expect(json.loads(output)["falkordb"] == "ok", output)
    with report.check("session-memory-tool-runs-unasked"):
        output = use_tool(place, "graphiti_search", '{"query": "mulberry"}')
        expect("codeword mulberry" in output, output)
    with report.check("session-shell-tool-asks-first"):
        _expect_question(place)


def _check_without_stores(report: Report, place: Place) -> None:
    with report.check("session-works-without-stores"):
        said = _talk(place, _open(place), "the codeword is forgotten")
        expect("The quokka is in Perth." in json.dumps(said), json.dumps(said)[-300:])
        output = use_tool(place, "image_status")
        expect("FalkorDB at localhost:6379 does not answer" in output, output)
        wait_for_health(place, 10)
    with report.check("session-recording-failure-is-logged"):
        reason = "error: the episode is lost, both stores are away"
        wait_until(lambda: reason in place.run(["sh", "-c", f"cat {LOG}/*"]).out, 60, f"`{reason}` in the server's log")


def _open(place: Place) -> str:
    return ask(place, "/session", {})["id"]


def _talk(place: Place, session: str, text: str) -> Any:
    body = {"model": MODEL, "parts": [{"type": "text", "text": text}]}
    return ask(place, f"/session/{session}/message", body, timeout=60)


def use_tool(place: Place, name: str, arguments: str = "{}") -> str:
    """Has the fake model call a tool; gives the tool's output."""
    session = _open(place)
    _talk(place, session, f"please use {name} with {arguments}")
    messages = ask(place, f"/session/{session}/message")
    parts = [part for message in messages for part in message["parts"] if part["type"] == "tool"]
    expect(len(parts) == 1 and parts[0]["tool"] == name, f"tool calls: {parts}")
    expect(parts[0]["state"]["status"] == "completed", str(parts[0]["state"]))
    return parts[0]["state"]["output"]


def _expect_question(place: Place) -> None:
    session = _open(place)
    arguments = '{"command": "touch /tmp/not-allowed", "description": "x"}'
    body = {"model": MODEL, "parts": [{"type": "text", "text": f"please use bash with {arguments}"}]}
    post = ["curl", "--silent", "--max-time", "60", "--header", "Content-Type: application/json"]
    waiting = place.start([*post, "--data", json.dumps(body), f"http://127.0.0.1:4096/session/{session}/message"])
    wait_until(lambda: ask(place, "/permission"), 20, "a question for permission")
    question = ask(place, "/permission")[0]
    expect(question.get("permission") == "bash", str(question))
    ask(place, f"/permission/{question['id']}/reply", {"reply": "reject"})
    waiting.wait(30)
    expect(place.run(["test", "-e", "/tmp/not-allowed"]).code == 1, "the command ran before it was allowed")


def _search(place: Place, word: str) -> str:
    return place.run([*MEMORY, "search", word], timeout=60).out
