"""A server with the endpoints of the Hugging Face hub that an upload uses, on a real socket; it keeps what it is given.

Large files come by git-LFS (one PUT each, checked against the SHA-256 they were announced with) when `takes_lfs` is set, else in
the commit itself, as small files do. Nothing is kept before a commit names it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


class Hub:
    """State and behaviour.

    `repositories`: (type, OWNER/NAME) -> path -> bytes. `visibility`: the same key -> what was asked for. `refuse`: part of an
    address -> HTTP status. `asked`: every request as "METHOD path". `tokens`: every Authorization header that was seen.
    """

    def __init__(self, *, takes_lfs: bool = False) -> None:
        self.takes_lfs = takes_lfs
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.visibility: dict[tuple[str, str], str] = {}
        self.refuse: dict[str, int] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.stored: dict[str, bytes] = {}

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def create(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        kind, name = given.get("type", "model"), f"{given['organization']}/{given['name']}"
        address = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.repositories:
            return 409, {"error": "You already created this repo", "url": address}
        self.repositories[kind, name] = {}
        self.visibility[kind, name] = given.get("visibility", "public")
        return 200, {"url": address}

    def check_card(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        front = given["content"].split("---\n")
        try:
            fields = yaml.safe_load(front[1]) if len(front) > 2 and not front[0] else {}
        except yaml.YAMLError as error:
            return 400, {"errors": [{"message": str(error)}]}
        missing = [] if fields else [{"message": "empty or missing yaml metadata in repo card"}]
        return 200, {"errors": [], "warnings": missing}

    def upload_modes(self, given: dict[str, Any]) -> dict[str, Any]:
        is_large = {file["path"]: self.takes_lfs and file["path"].endswith(".safetensors") for file in given["files"]}
        return {
            "files": [
                {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None}
                for path, large in is_large.items()
            ]
        }

    def lfs(self, given: dict[str, Any]) -> dict[str, Any]:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/store/{one['oid']}"}}} if one["oid"] not in self.stored else one
            for one in given["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def commit(self, kind: str, name: str, lines: bytes) -> dict[str, Any]:
        files = self.repositories[kind, name]
        for line in map(json.loads, lines.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            else:
                assert line["key"] == "header"
        return {"success": True, "commitUrl": f"{self.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def do_POST(self) -> None:
        body = self._body()
        place = urlsplit(self.path)
        path = place.path
        if found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/(preupload|commit)/main", path):
            kind, name, what = found.groups()
            if (kind, name) not in self.state.repositories:
                return self._send(404, {"error": "Repository not found"})
            given = self.state.upload_modes(json.loads(body)) if what == "preupload" else self.state.commit(kind, name, body)
            return self._send(200, given)
        if path == "/api/repos/create":
            return self._send(*self.state.create(json.loads(body)))
        if path == "/api/validate-yaml":
            return self._send(*self.state.check_card(json.loads(body)))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._send(200, self.state.lfs(json.loads(body)))
        return self._send(404, {"error": f"nothing at {path} {parse_qs(place.query)}"})

    def do_PUT(self) -> None:
        body, oid = self._body(), self.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            return self._send(400, {"error": "not the bytes that were announced"})
        self.state.stored[oid] = body
        return self._send(200, {})

    def do_GET(self) -> None:
        self._body()
        self._send(404, {"error": f"nothing at {self.path}"})

    def parse_request(self) -> bool:
        """Note the request; refuse it where told to."""
        if not super().parse_request():
            return False
        self.state.asked.append(f"{self.command} {self.path}")
        self.state.tokens.add(self.headers.get("Authorization") or "")
        for part, status in self.state.refuse.items():
            if part in self.path:
                self._body()
                self._send(status, {"error": f"refused with {status}"})
                return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
