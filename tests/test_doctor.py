"""What `doctor` finds: planted faults of machine and recipe, and never a key's value."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from qrdistill.cli import machine
from qrdistill.cli.main import run_app

SECRET = "sk-canary-7f3a9c0d1e2b"


def findings(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, dict[str, Any]]:
    """What doctor found, by name; no key may stand in anything it printed."""
    capsys.readouterr()
    assert run_app(["doctor", *map(str, arguments), "--json"]) == 0
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    return {finding["what"]: finding for finding in json.loads(printed.out)["findings"]}


def recipe(folder: Path, *, base_url: str, api_key_env: str = "CANARY_KEY", student: dict[str, Any] | None = None) -> Path:
    """A recipe with one paid teacher."""
    tree = {
        "name": "paid",
        "questions": {"tasks": [{"kind": "reasoning", "name": "leg_counting"}]},
        "generate": {
            "teachers": [
                {"kind": "openai_compatible", "name": "t", "model": "toy", "base_url": base_url, "api_key_env": api_key_env}
            ]
        },
        "students": [student or {"name": "a", "source": {"kind": "tiny"}, "adapter": {"kind": "full"}}],
    }
    place = folder / "paid.yaml"
    place.write_text(yaml.safe_dump(tree))
    return place


def test_the_machine_is_examined_and_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, "-o", tmp_path)
    assert {"disk", "fsync and flock", "clock", "threads", "memory", "device", "OPENAI_API_KEY"} <= set(found)
    assert list(tmp_path.iterdir()) == []


def test_keys_are_named_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    found = findings(capsys, "-o", tmp_path)
    assert found["OPENAI_API_KEY"]["found"] == "set"
    assert found["GEMINI_API_KEY"]["found"].startswith("not set")


def test_planted_faults_of_the_machine_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert not machine.threads().is_ok
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    assert not machine.clock(tmp_path).is_ok
    monkeypatch.undo()
    assert machine.clock(tmp_path).is_ok
    monkeypatch.setattr("fcntl.flock", lambda *_: None)  # a file system whose locks hold nothing
    assert not machine.locks_and_syncs(tmp_path).is_ok
    monkeypatch.undo()
    assert machine.locks_and_syncs(tmp_path).is_ok
    assert machine.locks_and_syncs(tmp_path / "not" / "there" / "yet").is_ok
    assert list(tmp_path.iterdir()) == []


@contextmanager
def server(status: int, body: str) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything alike and notes what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers['Authorization']}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}/v1", asked
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join(10)


@pytest.mark.parametrize(
    ("status", "body", "is_ok", "says"),
    [
        (200, '{"data": [{"id": "toy"}]}', True, "answers"),
        (200, '{"data": [{"id": "models/toy"}]}', True, "answers"),
        (200, '{"data": [{"id": "other"}]}', False, "does not list the model toy; it lists other"),
        (200, "<html>", True, "answers"),
        (404, "{}", True, "does not list its models"),
        (401, f"bad key {SECRET}", False, "refuses the key"),
        (503, f"down, {SECRET}", False, "503"),
    ],
)
def test_an_endpoint_is_reached_without_a_paid_call(
    status: int,
    body: str,
    is_ok: bool,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY_KEY", SECRET)
    with server(status, body) as (url, asked):
        found = findings(capsys, recipe(tmp_path, base_url=url), "-o", tmp_path)
    assert found["teacher 't': key"]["found"] == "CANARY_KEY is set"
    assert found["teacher 't': endpoint"]["is_ok"] is is_ok
    assert says in found["teacher 't': endpoint"]["found"]
    assert asked == [f"GET /v1/models Bearer {SECRET}"]


def test_a_server_that_is_gone_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", SECRET)
    with server(200, "{}") as (url, _):
        pass
    gone = findings(capsys, recipe(tmp_path, base_url=url), "-o", tmp_path)
    assert not gone["teacher 't': endpoint"]["is_ok"]
    assert "cannot connect" in gone["teacher 't': endpoint"]["found"]


def test_a_missing_key_and_a_missing_tokenizer_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANARY_KEY", raising=False)
    (tmp_path / "empty").mkdir()
    student = {"name": "s", "source": {"kind": "folder", "path": str(tmp_path / "empty")}}
    found = findings(capsys, recipe(tmp_path, base_url="http://127.0.0.1:9/v1", student=student), "-o", tmp_path)
    assert "CANARY_KEY is not set" in found["teacher 't': key"]["found"]
    assert not found["student 's': tokenizer"]["is_ok"]
