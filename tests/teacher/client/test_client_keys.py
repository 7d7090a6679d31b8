"""Keys from files: used, never shown, and refused unless nobody else can have read or written them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.books import write_recipe
from harness.fault_server import FaultServer
from qrdistill.cli.main import run_app
from qrdistill.config import load_recipe
from qrdistill.errors import AuthError, ConfigError
from qrdistill.teacher.client.keys import Key

SECRET = "sk-canary-file-0123456789abcdef"


def key_file(folder: Path, text: str = SECRET + "\n", mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    """The sentence a key file is refused with; it never holds the key."""
    with pytest.raises(AuthError) as caught:
        Key("", str(path))
    assert SECRET not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_ones_own_is_read(tmp_path: Path, mode: int) -> None:
    key = Key("", str(key_file(tmp_path, mode=mode)))
    assert key.header() == {"Authorization": f"Bearer {SECRET}"}
    for shown in (repr(key), str(key), key.place, pickle.dumps(key), key.hide(f"your key {SECRET} is bad")):
        assert SECRET not in str(shown)
    assert pickle.loads(pickle.dumps(key)).header() == key.header(), "another process reads the file itself"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o602, 0o700, 0o777])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode=mode)
    assert f"has mode {mode:04o}, expected 0600; run: chmod 600 {path}" in refusal(path)


def test_a_link_is_as_good_as_what_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key_file(tmp_path))
    assert Key("", str(link)).header()
    key_file(tmp_path, mode=0o644)
    assert "chmod 600" in refusal(link)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path) if os.geteuid() == 0 else Path("/etc/passwd")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    assert "belongs to another user" in refusal(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "no plain file"),
        (lambda path: os.mkfifo(path, 0o600), "no plain file"),
        (lambda path: key_file(path.parent, text="\n"), "is empty"),
        (lambda path: key_file(path.parent, text=f"{SECRET}\n{SECRET}\n"), "spaces or control characters"),
        (lambda path: key_file(path.parent, text="x" * 9000), "no key has"),
    ],
)
def test_what_holds_no_key_is_refused(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    make(tmp_path / "key")
    assert says in refusal(tmp_path / "key")


def test_a_run_uses_the_file_and_a_bad_one_costs_no_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    path = key_file(keys, mode=0o644)
    with FaultServer() as server:
        recipe = write_recipe(tmp_path, server.url, num_train=2, api_key_env="", key_file=str(path))
        assert run_app(["generate", str(recipe), "-o", str(tmp_path / "run")]) == 77
        assert "chmod 600" in capsys.readouterr().err
        assert not server.accepted
        path.chmod(0o600)
        assert run_app(["generate", str(recipe), "-o", str(tmp_path / "run")]) == 0
        assert {call.authorization for call in server.accepted} == {f"Bearer {SECRET}"}


def test_a_recipe_names_one_place_and_never_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both given"):
        load_recipe(write_recipe(tmp_path, "http://127.0.0.1:1/v1", num_train=2, key_file="~/key"))
    for pasted in (SECRET, "hf_AbCdEfGhIjKlMnOp0123", "A" * 101):
        with pytest.raises(ConfigError, match="api_key_env names") as caught:
            load_recipe(write_recipe(tmp_path, "http://127.0.0.1:1/v1", num_train=2, api_key_env=pasted))
        assert pasted[:30] not in str(caught.value)
    with pytest.raises(ConfigError, match="key_file is a path that starts with") as caught:
        load_recipe(write_recipe(tmp_path, "http://127.0.0.1:1/v1", num_train=2, api_key_env="", key_file=SECRET))
    assert SECRET not in str(caught.value)
