"""B4-B6, H1: what makes a cell another cell, texts that must survive, keys that must not."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.batch_server import BatchAPI
from harness.books import write_recipe
from harness.client import VARIABLE, config
from harness.fault_server import FaultServer
from qrdistill.cli.main import run_app
from qrdistill.config import validate
from qrdistill.config.endpoints import OpenAICompatibleTeacherConfig
from qrdistill.store import Ledger
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.client import OpenAICompatibleTeacher
from qrdistill.teacher.layout import make_request
from qrdistill.teacher.styles import style_named
from qrdistill.teacher.templates import Style
from qrdistill.types import Question, ReasoningPath

QUESTION = Question(id="q1", task="t", split="train", text="What is 2 + 2?", kind="number", gold="4")
STYLE = Style(name="cot", template="{question}\n{answer_form}", why="")


def identity(question: Question = QUESTION, style: Style = STYLE, sample: int = 0, **changes: Any) -> str:
    teacher = OpenAICompatibleTeacher(config("http://h/v1", **changes), prompt=lambda request, question: "")
    return make_request(question, teacher, style, sample, teacher.sampling(style.name)).id


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"temperature": 0.7},
        {"top_p": 0.9},
        {"max_tokens": 65},
        {"extra": {"reasoning_effort": "low"}},
        {"capabilities": {"seed": True}},
        {"name": "other"},
        {"sample": 1},
        {"style": Style(name="cot", template="{question} \n{answer_form}", why="")},
        {"style": Style(name="tot", template="{question}\n{answer_form}", why="")},
        {"question": Question(id="q1", task="t", split="train", text="What is 2 + 3?", kind="number", gold="4")},
    ],
)
def test_a_change_of_what_is_asked_is_another_cell(changes: dict[str, Any]) -> None:
    assert identity(**changes) != identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://other/v1"},
        {"api_key_env": "OTHER"},
        {"api_key_env": "", "key_file": "~/key"},
        {"price": "free"},
        {"limits": {"max_concurrency": 3}},
        {"weight": 0.5},
        {"mode": "batch"},
        {"style": Style(name="cot", template="{question}\n{answer_form}", why="another reason")},
    ],
)
def test_a_change_of_how_it_is_asked_is_the_same_cell(changes: dict[str, Any]) -> None:
    changes = {"url": changes.pop("base_url")} if "base_url" in changes else changes
    url = changes.pop("url", "http://h/v1")
    style = changes.pop("style", STYLE)
    teacher = OpenAICompatibleTeacher(config(url, **changes), prompt=lambda request, question: "")
    assert make_request(QUESTION, teacher, style, 0, teacher.sampling("cot")).id == identity()


def test_the_order_of_styles_tasks_and_teachers_is_no_part_of_a_cell(tmp_path: Path) -> None:
    tree = yaml.safe_load(write_recipe(tmp_path, "http://h/v1", num_train=3).read_text())
    teacher = tree["generate"]["teachers"][0]
    tree["generate"] |= {"styles": ["cot", "fact"], "teachers": [teacher, teacher | {"name": "second"}]}
    tree["questions"]["tasks"].append({"kind": "reasoning", "name": "gcd"})

    def cells() -> list[str]:
        config = validate(tree)
        styles = [style_named(name, config.generate) for name in config.generate.styles]
        questions = [question for task in load_tasks(config).values() for question in task.questions("train", 3)]
        return [
            make_request(question, teacher, style, 0, teacher.sampling(style.name)).id
            for one in config.generate.teachers
            if isinstance(one, OpenAICompatibleTeacherConfig)
            for teacher in [OpenAICompatibleTeacher(one, prompt=lambda request, question: "")]
            for style in styles
            for question in questions
        ]

    before = cells()
    for listed in (tree["generate"]["styles"], tree["generate"]["teachers"], tree["questions"]["tasks"]):
        listed.reverse()
    assert cells() != before
    assert sorted(cells()) == sorted(before)
    assert len(set(before)) == 2 * 2 * 6


def hostile_strings(number: int) -> list[str]:
    dice = random.Random(7)
    pieces = [
        "\ud800",
        "\udfff",
        "\u2028",
        "\u2029",
        "\x00",
        "\ufeff",
        "\x85",
        "\r\n",
        "\x1b[31m",
        "𝄞",
        "é",
        '"',
        "\\",
        "<",
        "{",
        "a",
    ]
    return ["".join(dice.choices(pieces, k=dice.randint(1, 12))) for _ in range(number)]


@pytest.mark.parametrize("num_strings", [600, pytest.param(5_004, marks=pytest.mark.nightly)])
def test_hostile_texts_survive_the_way_into_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_strings: int) -> None:
    monkeypatch.setenv(VARIABLE, "sk-some-key-value")
    texts = iter(hostile_strings(num_strings))
    sent: list[str] = []

    def answer(prompt: str) -> str:
        sent.append(f"x{next(texts)}x")
        return sent[-1]

    with FaultServer(answer=answer) as server:
        recipe = write_recipe(tmp_path, server.url, num_train=num_strings // 6 - 1)
        code = run_app(["generate", str(recipe), "-o", str(tmp_path / "run")])
    assert code == 0
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", is_read_only=True)
    as_json = [json.loads(json.dumps(text)) for text in sent]  # two lone surrogates side by side are one character in JSON
    assert sorted(path.text for path in ledger.all(ReasoningPath)) == sorted(as_json)
    ledger.verify()
    ledger.close()
    lines = (tmp_path / "run" / "exports" / "paths.jsonl").read_bytes().split(b"\n")
    assert len(lines) == len(sent) + 1


def test_hostile_names_write_nothing_outside_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H4: a model's name, and every name a server makes up, are data and never places."""
    monkeypatch.setenv(VARIABLE, "sk-some-key-value")
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    evil = "../../evil/../x"
    with FaultServer(model=evil, answer=lambda prompt: "../../etc/x The answer is 4.") as server:
        recipe = write_recipe(inside, server.url, num_train=2, model=evil)
        assert run_app(["generate", str(recipe), "-o", "run"]) == 0
    with BatchAPI() as api:
        api.name_of = lambda number: f"../../evil-{number}"
        own = {"mode": "batch", "model": evil, "capabilities": {"batch": True}, "limits": {"poll_s": 0.05}}
        recipe = write_recipe(inside, api.url, num_train=2, **own)
        assert run_app(["generate", str(recipe), "-o", "batched"]) == 69
        assert not api.looks
        files = {"mode": "files", "model": evil}
        assert run_app(["generate", str(write_recipe(inside, api.url, num_train=2, **files)), "-o", "filed"]) == 75
    assert [place.name for place in tmp_path.iterdir()] == ["inside"]
    assert {place.name for place in inside.iterdir()} <= {"recipe.yaml", "run", "batched", "filed"}
    assert not [place for place in inside.rglob("*") if "evil" in place.name]


def canaries() -> list[str]:
    dice = random.Random(11)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    heads = ["sk-", "sk-proj-", "AIza", "sk-ant-", "gsk_", "hf_", "Bearer-", "key.", "a/b+c=", "{k}", "%s", "$X"]
    return [head + "".join(dice.choices(letters, k=24)) for head in heads]


def test_twelve_keys_are_in_no_produced_byte(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them come from the environment, half from a file."""
    key_file = tmp_path_factory.mktemp("keys") / "key"
    key_file.touch(0o600)
    log = logging.FileHandler(tmp_path / "everything.log")
    logging.getLogger().addHandler(log)
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    printed = io.StringIO()
    try:
        for number, key in enumerate(canaries()):
            folder = tmp_path / str(number)
            folder.mkdir()
            own = {"api_key_env": "", "key_file": str(key_file)} if number % 2 else {}
            if own:
                key_file.write_text(key)
                monkeypatch.delenv(VARIABLE)
            else:
                monkeypatch.setenv(VARIABLE, key)
            faults = {"echo_key": 0.6, "rate": 0.2, "auth_echo": 0.01}
            with FaultServer(seed=number, faults=faults) as server, contextlib.redirect_stdout(printed):
                with contextlib.redirect_stderr(printed):
                    run_app(
                        [
                            "generate",
                            str(write_recipe(folder, server.url, num_train=2, **own)),
                            "-o",
                            str(folder / "run"),
                            "--json",
                        ]
                    )
                assert all(call.authorization == f"Bearer {key}" for call in server.accepted)
                assert server.count()["echo_key"] + server.count()["auth_echo"] > 0
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
    produced = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + printed.getvalue().encode()
    assert b"[key]" in produced
    for key in canaries():
        assert key.encode() not in produced
        assert key[-20:].encode() not in produced
