"""Uploads by the hub's own client, over real HTTP, to a server that plays the hub's endpoints and keeps what it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.hub_server import Hub
from qrdistill.pipeline import run_pipeline
from recipes import toy_recipe

TOKEN = "hf_canaryCanaryCanaryCanary7f3a"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run up to its training."""
    return run_pipeline(toy_recipe(), tmp_path_factory.mktemp("hub") / "run", until="train").folder


def export(run: Path, place: Path, hub_url: str, what: str, *more: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """`qrdistill export RUN WHAT --push` in a process of its own: exit code, JSON, stderr. The token is shown nowhere."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    known |= {"HF_ENDPOINT": hub_url, "HF_TOKEN": TOKEN, "HF_HOME": str(place / "home"), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "qrdistill", "export", str(run), what, "-o", str(place / "out"), "--json", *more]
    done = subprocess.run(command, env=known | environment, capture_output=True, text=True, timeout=250)
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_arrives_byte_for_byte_and_private(run: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        code, said, complaint = export(run, tmp_path, hub.url, "data", "--push", "me/my-paths")
        assert code == 0, complaint
        assert said["address"] == f"{hub.url}/datasets/me/my-paths"
        assert hub.visibility == {("dataset", "me/my-paths"): "private"}
        uploaded = hub.repositories["dataset", "me/my-paths"]
        assert uploaded == files_of(tmp_path / "out")
        assert {"README.md", "recipe.yaml", "provenance.json", "data/train.jsonl"} <= uploaded.keys()
        assert hub.tokens - {""} == {f"Bearer {TOKEN}"}
        for name, content in uploaded.items():
            assert TOKEN.encode() not in content, name


@pytest.mark.parametrize("takes_lfs", [False, True], ids=["in the commit", "by LFS"])
def test_students_arrive_with_their_cards_and_weights(takes_lfs: bool, run: Path, tmp_path: Path) -> None:
    with Hub(takes_lfs=takes_lfs) as hub:
        more = {"HF_HUB_DISABLE_XET": "1"} if takes_lfs else {}
        code, said, complaint = export(run, tmp_path, hub.url, "students", "--push", "me/my-team", "--public", **more)
        assert code == 0, complaint
        assert said["address"] == f"{hub.url}/me/my-team"
        assert hub.visibility == {("model", "me/my-team"): "public"}
        uploaded = hub.repositories["model", "me/my-team"]
        assert uploaded == files_of(tmp_path / "out")
        assert {"README.md", "recipe.yaml", "llama/README.md", "gemma3/model.safetensors"} <= uploaded.keys()
        assert bool(hub.stored) is takes_lfs


def test_the_same_command_again_changes_nothing_of_the_repository(run: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        for _ in range(2):
            code, said, complaint = export(run, tmp_path, hub.url, "data", "--push", "me/my-paths", "--public")
            assert (code, said["address"]) == (0, f"{hub.url}/datasets/me/my-paths"), complaint
        assert hub.visibility == {("dataset", "me/my-paths"): "public"}
        assert hub.repositories["dataset", "me/my-paths"] == files_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("part", "status", "exit_code", "says"),
    [
        ("repos/create", 401, 77, "the hub refuses to write to me/my-paths (HTTP 401); use a token that may write there"),
        ("/commit/", 403, 77, "the hub refuses to write to me/my-paths (HTTP 403)"),
        ("repos/create", 500, 69, "the hub answered HTTP 500 while uploading to me/my-paths; run the same command again"),
        ("validate-yaml", 400, 65, "the hub does not accept README.md or the name me/my-paths (Invalid metadata in README.md.)"),
    ],
)
def test_refusals_have_their_exit_code(part: str, status: int, exit_code: int, says: str, run: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        hub.refuse[part] = status
        code, said, complaint = export(run, tmp_path, hub.url, "data", "--push", "me/my-paths")
        assert (code, said["exit_code"]) == (exit_code, exit_code), complaint
        assert says in said["error"]
        assert "Traceback" not in complaint
        assert not hub.repositories.get(("dataset", "me/my-paths"))


def test_a_hub_that_is_gone(run: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        url = hub.url
    code, said, complaint = export(run, tmp_path, url, "data", "--push", "me/my-paths")
    assert code == 69, complaint
    assert "the hub cannot be reached" in said["error"]
    assert (tmp_path / "out" / "README.md").is_file(), "what was exported stays"
