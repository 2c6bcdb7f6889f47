"""The memory with real stores and a fake language model; then with each of them away."""

import json
from typing import Any

from checks.common import FAKE_LLM, FALKORDB, MEMORY, PYTHON, VALKEY, cli, plain, start_llm, start_store
from places import IDLE, Done, Place, PlaceMaker
from report import Report, expect

CHECKS = (
    "memory-status-with-both-stores",
    "memory-smoke-builds-indexes",
    "memory-disabled-without-key",
    "memory-adds-and-finds-an-episode",
    "memory-records-an-episode-once",
    "memory-server-offers-its-tools",
    "memory-server-adds-and-finds",
    "memory-language-model-down-keeps-the-episode",
    "memory-falkordb-down-is-said",
    "memory-falkordb-down-keeps-the-episode",
    "memory-falkordb-back-takes-what-waited",
    "memory-valkey-down-still-adds",
    "memory-both-stores-down-is-an-error",
    "memory-server-survives-both-stores-down",
    "memory-without-graph-module-is-said",
    "memory-bad-setting-is-named",
)


def check_memory(report: Report, maker: PlaceMaker) -> None:
    with report.group(CHECKS):
        place = maker.boot(command=IDLE)
        try:
            falkordb, valkey, llm = start_store(place, FALKORDB), start_store(place, VALKEY), start_llm(place)
            _check_with_stores(report, place)
            _check_server(report, place)
            llm.stop()
            _check_without_llm(report, place)
            start_llm(place)
            falkordb.stop()
            _check_without_falkordb(report, place)
            start_store(place, FALKORDB)
            _check_falkordb_back(report, place)
            valkey.stop()
            _check_without_valkey(report, place)
            cli(place, 6379, "SHUTDOWN", "NOSAVE")
            _check_without_stores(report, place)
            start_store(place, VALKEY)
            _check_wrong_settings(report, place)
        finally:
            place.close()


def _check_with_stores(report: Report, place: Place) -> None:
    with report.check("memory-status-with-both-stores"):
        state = _status(place)
        expect((state["memory"], state["falkordb"], state["valkey"]) == ("enabled", "ok", "ok"), str(state))
    with report.check("memory-smoke-builds-indexes") as details:
        # No key here: the stores can be checked before there is one.
        done = place.run([*MEMORY, "smoke"])
        expect(done.code == 0 and "ok indexes: " in done.out and "ok valkey: " in done.out, done.text)
        indexed = cli(place, 6379, "GRAPH.QUERY", "opencode", "CALL db.indexes() YIELD label RETURN count(label)")
        details.append(f"{indexed.split()[1]} labels indexed")
    with report.check("memory-disabled-without-key"):
        done = place.run([*MEMORY, "record"], stdin=_episode("none", "nothing"))
        expect(done.code == 0 and json.loads(done.out)["state"] == "disabled", done.text)
        done = place.run([*MEMORY, "search", "anything"])
        expect(
            done.code == 1 and "memory disabled: OPENAI_API_KEY is not set" in done.err and plain(done.err), done.text
        )
    with report.check("memory-adds-and-finds-an-episode"):
        _expect_recorded(_record(place, "first", "plum"), "recorded")
        _expect_found(place, "plum")
    with report.check("memory-records-an-episode-once"):
        _expect_recorded(_record(place, "first", "plum"), "known")
        count = cli(place, 6379, "GRAPH.QUERY", "opencode", "MATCH (e:Episodic) RETURN count(e)")
        expect("\n1\n" in count, f"episodes in the graph: {count}")


def _check_server(report: Report, place: Place) -> None:
    with report.check("memory-server-offers-its-tools"):
        answer = _call_server(place, "status={}")
        expect(answer["tools"] == ["add", "search", "status"], str(answer["tools"]))
        expect(json.loads(answer["calls"][0]["text"])["falkordb"] == "ok", str(answer))
    with report.check("memory-server-adds-and-finds"):
        calls = _call_server(place, 'add={"name": "n", "text": "codeword cherry"}', 'search={"query": "cherry"}')[
            "calls"
        ]
        expect(not calls[0]["error"] and calls[0]["text"].startswith("recorded"), str(calls))
        expect("codeword cherry" in calls[1]["text"], str(calls))


def _check_without_llm(report: Report, place: Place) -> None:
    with report.check("memory-language-model-down-keeps-the-episode"):
        done = _record(place, "second", "damson")
        _expect_recorded(done, "waiting")
        expect("Connection" in done.out and plain(done.err), done.text)


def _check_without_falkordb(report: Report, place: Place) -> None:
    with report.check("memory-falkordb-down-is-said"):
        state = _status(place)
        expect(
            state["falkordb"].startswith("FalkorDB at localhost:6379 does not answer") and state["valkey"] == "ok",
            str(state),
        )
        done = place.run([*MEMORY, "smoke"])
        expect(
            done.code == 1 and "FAIL indexes: FalkorDB at localhost:6379" in done.out and "ok valkey" in done.out,
            done.text,
        )
        expect(plain(done.text), done.text)
    with report.check("memory-falkordb-down-keeps-the-episode"):
        _expect_recorded(_record(place, "third", "sloe"), "waiting")
        expect(_status(place)["episodes"]["waiting"] == 2, str(_status(place)))


def _check_falkordb_back(report: Report, place: Place) -> None:
    with report.check("memory-falkordb-back-takes-what-waited"):
        done = _record(place, "fourth", "quince")
        _expect_recorded(done, "recorded")
        expect("3 added" in done.out, done.out)
        for word in ("damson", "sloe", "quince"):
            _expect_found(place, word)


def _check_without_valkey(report: Report, place: Place) -> None:
    with report.check("memory-valkey-down-still-adds"):
        done = _record(place, "fifth", "medlar")
        _expect_recorded(done, "recorded")
        expect("without de-duplication: Valkey at localhost:6380" in done.out, done.out)
        _expect_found(place, "medlar")
        expect(_status(place)["valkey"].startswith("Valkey at localhost:6380 does not answer"), str(_status(place)))


def _check_without_stores(report: Report, place: Place) -> None:
    with report.check("memory-both-stores-down-is-an-error"):
        done = _record(place, "sixth", "lost")
        expect(done.code == 1 and done.err.startswith("error: the episode is lost") and plain(done.err), done.text)
    with report.check("memory-server-survives-both-stores-down"):
        calls = _call_server(place, 'search={"query": "x"}', 'add={"name": "n", "text": "t"}', "status={}")["calls"]
        expect(calls[0]["error"] and "FalkorDB at localhost:6379 does not answer" in calls[0]["text"], str(calls))
        expect(calls[1]["error"] and plain(calls[1]["text"]), str(calls))
        expect(not calls[2]["error"] and "does not answer" in calls[2]["text"], str(calls))


def _check_wrong_settings(report: Report, place: Place) -> None:
    with report.check("memory-without-graph-module-is-said"):
        state = _status(place, FALKORDB_PORT="6380")
        expect(state["falkordb"] == "FalkorDB at localhost:6380 answers, but has no graph module", str(state))
    with report.check("memory-bad-setting-is-named"):
        done = place.run([*MEMORY, "status"], {"VALKEY_PORT": "many"})
        expect(
            done.code == 2 and done.err.strip().endswith("error: VALKEY_PORT is `many`, which is not a port"), done.text
        )


def _episode(identity: str, word: str) -> str:
    fields = {"id": identity, "name": f"talk {identity}", "body": f"user: my codeword {word}", "source": "acceptance"}
    return json.dumps({**fields, "happened": "2026-01-02T03:04:05+00:00"})


def _record(place: Place, identity: str, word: str) -> Done:
    return place.run([*MEMORY, "record"], FAKE_LLM, stdin=_episode(identity, word), timeout=120)


def _expect_recorded(done: Done, state: str) -> None:
    expect(done.code == 0, done.text)
    expect(json.loads(done.out)["state"] == state, done.text)


def _expect_found(place: Place, word: str) -> None:
    done = place.run([*MEMORY, "search", f"codeword {word}"], FAKE_LLM)
    expect(done.code == 0, done.text)
    expect(any(f"codeword {word}" in fact["fact"] for fact in json.loads(done.out)), f"not found: {done.text}")


def _status(place: Place, **environment: str) -> Any:
    done = place.run([*MEMORY, "status"], {**FAKE_LLM, **environment})
    expect(done.code == 0 and plain(done.err), done.text)
    return json.loads(done.out)


def _call_server(place: Place, *calls: str) -> Any:
    # Under ddtrace-run, as in the image.
    done = place.run(["ddtrace-run", PYTHON, "-B", "/acceptance/mcp_call.py", *calls], FAKE_LLM, timeout=120)
    expect(done.code == 0, done.text[-600:])
    return json.loads(done.out)
