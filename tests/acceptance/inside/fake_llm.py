"""An OpenAI-compatible endpoint on loopback that always says the same: for OpenCode (streamed text) and for Graphiti.

usage: fake_llm.py PORT [delay-seconds]

Graphiti asks for JSON by the name of a schema. Whatever the text is, it contains two entities and one fact: the word
that follows "codeword" in the text, so that a check can plant a word and look for it.
"""

import hashlib
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIMENSIONS = 1024
ENTITIES = ("Quokka", "Perth")


def fact_in(text: str) -> str:
    words = re.findall(r"codeword (\w+)", text)
    return f"Quokka told Perth the codeword {words[-1] if words else 'none'}"


def structured(name: str, text: str) -> dict:
    """Answers for each schema that adding an episode asks for; an unknown one is a failure to be seen."""
    return {
        "ExtractedEntities": {
            "extracted_entities": [{"name": e, "entity_type_id": 0, "episode_indices": [0]} for e in ENTITIES]
        },
        "NodeResolutions": {
            "entity_resolutions": [{"id": i, "name": e, "duplicate_candidate_id": -1} for i, e in enumerate(ENTITIES)]
        },
        "ExtractedEdges": {
            "edges": [
                {
                    "source_entity_name": ENTITIES[0],
                    "target_entity_name": ENTITIES[1],
                    "relation_type": "TOLD",
                    "fact": fact_in(text),
                    "valid_at": None,
                    "invalid_at": None,
                    "episode_indices": [0],
                }
            ]
        },
        "EdgeDuplicate": {"duplicate_facts": [], "contradicted_facts": []},
        "EdgeTimestamps": {"valid_at": None, "invalid_at": None},
        "BatchEdgeTimestamps": {"timestamps": [{"valid_at": None, "invalid_at": None}]},
        "SummarizedEntities": {"summaries": [{"name": e, "summary": f"{e}."} for e in ENTITIES]},
    }[name]


def embed(text: str) -> list[float]:
    seed = hashlib.sha256(text.lower().encode()).digest()
    return [(seed[i % len(seed)] - 127.5) / 4096 for i in range(DIMENSIONS)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    delay = 0.0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            self.answer_embeddings(asked)
        elif asked.get("stream"):
            self.answer_stream(asked)
        else:
            time.sleep(self.delay)
            self.answer_chat(asked)

    def answer_embeddings(self, asked: dict) -> None:
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        data = [{"object": "embedding", "index": i, "embedding": embed(text)} for i, text in enumerate(texts)]
        self.send(
            {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        )

    def answer_chat(self, asked: dict) -> None:
        schema = asked.get("response_format", {}).get("json_schema", {})
        text = "\n".join(str(message["content"]) for message in asked["messages"])
        content = json.dumps(structured(schema["name"], text)) if schema else "{}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.send(
            {
                "id": "fake",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [choice],
                "usage": usage,
            }
        )

    def answer_stream(self, asked: dict) -> None:
        """Calls the tool that the last message names after "please use", once; else says a sentence."""
        last = asked["messages"][-1]
        wanted = (
            re.search(r"please use (\w+)(?: with (\{.*\}))?", str(last.get("content")))
            if last["role"] == "user"
            else None
        )
        if wanted and asked.get("tools"):
            call = {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": wanted[1], "arguments": wanted[2] or "{}"},
            }
            deltas, reason = [{"role": "assistant", "tool_calls": [call]}], "tool_calls"
        else:
            deltas, reason = [{"role": "assistant", "content": "The quokka "}, {"content": "is in Perth."}], "stop"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for delta, finish in [*((delta, None) for delta in deltas), ({}, reason)]:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {
                "id": "fake",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": asked["model"],
                "choices": [choice],
            }
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def send(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.delay = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
