"""A server with OpenAI's batch interface on a real socket: files, batches, results; it can fail in every place we fear."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class BatchAPI:
    """State and behaviour. Every field may be changed between requests.

    `polls`: looks before a batch has ended. `ends_as`: its final status. `answered`: share of the lines that get a result.
    `lose_created`: break the connection after creating that many batches. `line_status`: status of each result line.
    """

    def __init__(self, answer: Callable[[str], str] = lambda prompt: "The answer is 4.") -> None:
        self.answer = answer
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.polls = 2
        self.ends_as = "completed"
        self.answered = 1.0
        self.lose_created = 0
        self.line_status: Callable[[int], int] = lambda number: 200
        self.shuffle = True
        self.is_paused = False
        self.answered_ids: list[str] = []
        self.name_of: Callable[[int], str] = lambda number: f"batch_{number}"

    def __enter__(self) -> BatchAPI:
        api = self

        class Handler(_Handler):
            state = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def look(self, batch_id: str) -> dict[str, Any]:
        """One poll; the batch ends when it has been looked at often enough."""
        batch = self.batches[batch_id]
        self.looks[batch_id] = self.looks.get(batch_id, 0) + 1
        if batch["status"] == "in_progress" and self.looks[batch_id] > self.polls and not self.is_paused:
            self._end(batch)
        return batch

    def _end(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        good, bad = [], []
        for number, line in enumerate(lines[: round(len(lines) * self.answered)]):
            status = self.line_status(number)
            prompt = line["body"]["messages"][-1]["content"]
            message = {"role": "assistant", "content": self.answer(prompt)}
            body: dict[str, Any] = {
                "model": line["body"]["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5},
            }
            if status != 200:
                body = {"error": {"message": "no"}}
            else:
                self.answered_ids.append(line["custom_id"])
            row = {"id": "r", "custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            (good if status == 200 else bad).append(json.dumps(row))
        if self.shuffle:
            good.reverse()
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                file_id = f"file-{name.split('_')[0]}-{batch['id']}"
                self.files[file_id] = "\n".join([*rows, "{cut off", ""]).encode()
                batch[name] = file_id
        batch["status"] = self.ends_as


class _Handler(BaseHTTPRequestHandler):
    state: BatchAPI
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        api, path = self.state, self.path.removeprefix("/v1")
        if path.startswith("/batches?"):
            self._send(json.dumps({"data": list(api.batches.values())[::-1]}).encode())
        elif path.startswith("/batches/"):
            self._send(json.dumps(api.look(unquote(path.split("/")[2]))).encode())
        else:
            self._send(api.files[unquote(path.split("/")[2])])

    def do_POST(self) -> None:
        api, path = self.state, self.path.removeprefix("/v1")
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/files":
            boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
            part = next(part for part in raw.split(b"--" + boundary) if b'name="file"' in part)
            file_id = f"file-{len(api.files)}"
            api.files[file_id] = part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") + b"\n"
            self._send(json.dumps({"id": file_id}).encode())
            return
        asked = json.loads(raw)
        batch_id = api.name_of(len(api.batches))
        num_lines = len(api.files[asked["input_file_id"]].splitlines())
        batch = {"id": batch_id, "status": "in_progress", "request_counts": {"total": num_lines, "completed": 0}, **asked}
        api.batches[batch_id] = batch
        if api.lose_created > 0:
            api.lose_created -= 1
            self.close_connection = True
            self.connection.close()
            return
        self._send(json.dumps(batch).encode())
