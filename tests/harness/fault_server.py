"""A chat-completion server on a real socket that misbehaves by seed and keeps its own ledger of every call it accepted.

The ledger is the oracle of the reliability tests: what it says was asked, answered and billed is compared with the run's own
ledger. It runs in a thread of the test (`with FaultServer(...) as server`) or alone (`python -m harness.fault_server`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MIXED = {
    "rate": 0.08,
    "server_error": 0.06,
    "timeout_status": 0.03,
    "reset": 0.03,
    "cut_json": 0.03,
    "html": 0.03,
    "empty_body": 0.02,
    "null": 0.015,
    "hang": 0.005,
}
"""30% faults, mixed."""

BILLED = {"ok", "cut_json", "reset_late", "hang", "length", "filter", "tool", "think_only", "other_model", "absurd_usage", "drip"}
"""What the server has worked for, and so puts on the bill, whether or not the client sees the whole reply."""

RETRY_AFTER = ("0.05", "0", "-3", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "", "0.1")


@dataclass(slots=True)
class Accepted:
    """One call the server accepted (read whole)."""

    request_id: str
    prompt: str
    fault: str
    authorization: str
    at_s: float
    body: dict[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    told: str = ""
    """The Retry-After that was sent."""

    @property
    def key(self) -> str:
        """The path's id (the attempt's id without its random end)."""
        return self.request_id.rsplit(".", 1)[0]


@dataclass
class FaultServer:
    """The server.

    `faults` maps names to probabilities; `script` lists what the first calls get, in order of arrival; `answer` writes the
    reply to a prompt. `dies_after`: the 401/402 that every call after that many gets (`late_status`).
    """

    seed: int = 0
    faults: Mapping[str, float] = field(default_factory=dict)
    script: Sequence[str] = ()
    latency_s: float = 0.0
    answer: Callable[[str], str] = lambda prompt: f"Reply {hashlib.sha256(prompt.encode()).hexdigest()[:8]}. The answer is 4."
    model: str = "toy"
    late_after: int = 0
    late_fault: str = ""
    retry_after: Sequence[str] = RETRY_AFTER
    keep_bodies: bool = True
    upstream: str = ""
    """A real server that answers what this one accepts (its tokens go on the bill)."""

    def __post_init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.in_flight = 0
        self.peak = 0
        self.port = 0
        self.redirect_to = "http://127.0.0.1:1/elsewhere"
        self._dice = random.Random(self.seed)
        self._ready = threading.Event()
        self._count = 0
        self.forwarded: list[dict[str, Any]] = []
        """First choices of the real server's replies."""

    # --- life ------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> FaultServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def billed(self) -> list[Accepted]:
        """The calls on the bill."""
        return [call for call in self.accepted if call.fault in BILLED]

    def count(self) -> Counter[str]:
        """How often each fault (or "ok") was served."""
        return Counter(call.fault for call in self.accepted)

    async def _main(self, port: int = 0) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=512, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._respond(headers, raw, reader, writer)
        finally:
            self.in_flight -= 1

    # --- faults ----------------------------------------------------------------------------------------------------------

    def _pick(self) -> str:
        number, self._count = self._count, self._count + 1
        if number < len(self.script):
            return self.script[number]
        if self.late_fault and number >= self.late_after:
            return self.late_fault
        roll = self._dice.random()
        for name, probability in self.faults.items():
            roll -= probability
            if roll < 0:
                return name
        return "ok"

    async def _respond(
        self, headers: Mapping[str, str], raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        body = json.loads(raw)
        prompt = body["messages"][-1]["content"]
        fault = self._pick()
        call = Accepted(
            request_id=headers.get("x-client-request-id", ""),
            prompt=prompt if self.keep_bodies else "",
            fault=fault,
            authorization=headers.get("authorization", ""),
            at_s=time.time(),
            body=body if self.keep_bodies else {},
        )
        text = self.answer(prompt)
        if fault in BILLED:
            call.prompt_tokens, call.completion_tokens = len(prompt) // 4 + 3, len(text) // 4 + 1
        self.accepted.append(call)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if fault in _STATUS:
            status, payload = _STATUS[fault]
            payload = payload.replace(b"AUTHORIZATION", call.authorization.encode())
            extra = {"Location": self.redirect_to} if 300 <= status < 400 else {}
            if fault in {"rate", "overloaded"} and (told := self._dice.choice(self.retry_after)):
                extra["Retry-After"] = call.told = told
            _write(writer, status, payload, extra)
        elif fault in {"reset", "reset_late"}:
            _reset(writer)
            return False
        elif fault in _RAW:
            _write(writer, 200, _RAW[fault], {"Content-Type": "text/html"})
        elif fault == "gzip_bomb":
            _write(writer, 200, _bomb(), {"Content-Encoding": "gzip"})
        elif fault == "hang":
            await reader.read(1)  # until the client gives up
            return False
        elif fault in {"drip", "blank_lines", "huge"}:
            await self._torture(fault, writer)
            return False
        elif self.upstream and fault == "ok":
            data = await self._forward(raw, call)
            _write(writer, 200, data)
        else:
            data = json.dumps(self._completion(fault, call, text)).encode()
            _write(writer, 200, data[: len(data) // 2] if fault == "cut_json" else data)
        await writer.drain()
        return True

    async def _forward(self, raw: bytes, call: Accepted) -> bytes:
        import httpx2

        async with httpx2.AsyncClient(trust_env=False, timeout=120) as client:
            headers = {"Content-Type": "application/json"}
            response = await client.post(f"{self.upstream}/chat/completions", content=raw, headers=headers)
        tree = response.json()
        usage = tree["usage"]
        self.forwarded.append(tree["choices"][0])
        call.prompt_tokens, call.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
        return response.content

    def _completion(self, fault: str, call: Accepted, text: str) -> dict[str, Any]:
        finish = {"length": "length", "filter": "content_filter", "tool": "tool_calls"}.get(fault, "stop")
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if fault == "think_only":
            message["content"] = f"<think>{text}"
        if fault == "tool":
            message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}
        if fault == "echo_key":
            message["content"] = f"Your key is {call.authorization}. The answer is 4."
        usage: dict[str, Any] = {"prompt_tokens": call.prompt_tokens, "completion_tokens": call.completion_tokens}
        if fault == "absurd_usage":
            usage = {"prompt_tokens": -5, "completion_tokens": 10**30}
        num_samples = call.body.get("n", 1) if call.body else 1
        return {
            "id": "x",
            "object": "chat.completion",
            "model": "somebody-else" if fault == "other_model" else self.model,
            "choices": [{"index": i, "finish_reason": finish, "message": message} for i in range(num_samples)],
            "usage": usage,
        }

    async def _torture(self, fault: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200000000\r\n\r\n")
        piece = {"drip": b'{"a', "blank_lines": b"\n" * 64, "huge": b'{"a": "' + b"x" * 1_000_000}[fault]
        for _ in range(10_000):
            writer.write(piece)
            await writer.drain()
            if fault != "huge":
                await asyncio.sleep(0.05)


def _bomb() -> bytes:
    """200 MB of JSON white space in 200 kB of gzip."""
    squeeze = zlib.compressobj(level=9, wbits=31)
    parts = [squeeze.compress(b" " * 1_000_000) for _ in range(200)]
    return b"".join([*parts, squeeze.flush()])


def _error(message: str, code: str = "") -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "type": code}}).encode()


_STATUS: dict[str, tuple[int, bytes]] = {
    "rate": (429, _error("slow down", "rate_limit_exceeded")),
    "overloaded": (503, b"overloaded"),
    "server_error": (500, b"<html>oops</html>"),
    "timeout_status": (408, b""),
    "quota": (429, _error("You exceeded your current quota", "insufficient_quota")),
    "payment": (402, _error("pay first")),
    "auth": (401, _error("Incorrect API key provided")),
    "auth_echo": (401, _error("Incorrect API key provided: AUTHORIZATION")),
    "forbidden": (403, _error("not for you")),
    "no_model": (404, _error("The model does not exist", "model_not_found")),
    "bad_request": (400, _error("unknown field")),
    "redirect": (307, b""),
}
_RAW: dict[str, bytes] = {
    "html": b"<!doctype html><html><body>captive portal</body></html>",
    "empty_body": b"",
    "null": b"null",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep_object": b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "list": b"[1, 2]",
    "big_number": b'{"usage": ' + b"9" * 10_000 + b"}",
    "bad_choices": b'{"choices": [null, 3], "usage": "many", "model": 7}',
    "error_in_200": b'{"error": {"message": "upstream failed"}}',
}


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, extra: Mapping[str, str] | None = None) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(extra or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + body)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def main() -> None:
    """Serve alone: print the port, run until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mixed", action="store_true")
    options = parser.parse_args()
    server = FaultServer(seed=options.seed, latency_s=options.latency, faults=MIXED if options.mixed else {}, keep_bodies=False)
    with server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
