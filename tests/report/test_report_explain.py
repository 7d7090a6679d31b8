"""`explain`, `show` and their renderings in the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from qrdistill.errors import DataError, UsageError
from qrdistill.report import explain, render_show, render_text, show, story_text
from qrdistill.store import Run
from qrdistill.types import Prediction, ReasoningPath, Route
from report.synthetic import STUDENTS, build_run, config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return build_run(tmp_path_factory.mktemp("runs") / "toy")


def printed(what: RenderableType) -> str:
    sink = io.StringIO()
    Console(file=sink, width=110, force_terminal=True, color_system="truecolor").print(what)
    return sink.getvalue()


def test_a_story_has_everything_the_ledger_knows(run: Run) -> None:
    story = explain(run, "chain_sum-train-00003")
    assert {p.path.id for p in story.paths} == {
        p.id for p in run.ledger.all(ReasoningPath, "question_id = ?", [story.question.id])
    }
    assert [p.path.style for p in story.paths] == list(run.config.generate.styles)
    for told in story.paths:
        routes = run.ledger.all(Route, "path_id = ?", [told.path.id])
        assert sum(r.num_decisions for r in told.routes) == len(routes)
        for summary in told.routes:
            mine = sorted((r for r in routes if r.student == summary.student), key=lambda r: r.step)
            assert (summary.first_prob, summary.last_prob) == (mine[0].prob, mine[-1].prob)
            assert summary.num_routed == sum(r.is_routed for r in mine)
    test = explain(run, "leg_counting-test-00001")
    assert [(p.student, p.arm) for p in test.predictions] == [(s, arm) for s in STUDENTS for arm in ("zero_shot", "trained")]
    assert len(test.predictions) == run.ledger.count(Prediction, "question_id = ?", [test.question.id])


def test_the_failing_step_and_the_read_answer_are_marked(run: Run) -> None:
    stories = [explain(run, f"chain_sum-train-{index:05d}") for index in range(12)]
    story = next(story for story in stories if any(path.failing_step for path in story.paths))
    path = next(path for path in story.paths if path.failing_step)
    assert path.failing_step in path.path.text
    shown = printed(render_text(story))
    assert f"\x1b[1;7m{path.failing_step}\x1b[0m" in shown
    plain = story_text(story)
    assert "\x1b" not in plain
    assert f"step: {path.failing_step}" in " ".join(plain.replace("│", " ").split())


def test_json_of_a_story(run: Run) -> None:
    told = json.loads(json.dumps(explain(run, "chain_sum-train-00003").to_dict(), allow_nan=False))
    assert told["question"]["gold"]
    assert told["paths"][0]["path"]["text"]
    assert {"verdict", "judgements", "decision", "routes"} <= told["paths"][0].keys()


def test_a_beginning_of_an_id_is_enough_when_it_is_unique(run: Run) -> None:
    assert explain(run, "chain_sum-validation-00001").question.id == "chain_sum-validation-00001"
    with pytest.raises(UsageError, match=r"20 questions begin with 'chain_sum-test'"):
        explain(run, "chain_sum-test")


@pytest.mark.parametrize("name", ["chain_sum-train-00093", "%", "_", "", "nothing like it \x1b[2J"])
def test_an_unknown_id_names_ids_like_it(run: Run, name: str) -> None:
    with pytest.raises(UsageError, match=r"no question .* among the 68 of this run; ids like it: '"):
        explain(run, name)


def test_before_anything_has_run(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", config())
    with pytest.raises(DataError, match="no ledger yet"):
        explain(run, "x")
    state = show(run)
    assert state["next"].startswith("qrdistill generate ")
    assert "not finished" in printed(render_show(state))


def test_unfinished_stories_say_what_is_missing(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", until="generate")
    plain = story_text(explain(run, "chain_sum-train-00001"))
    assert "not decided yet" in plain
    assert "No student answers" in plain
    assert "No reasoning paths" in story_text(explain(run, "chain_sum-test-00001"))


def test_show_says_what_is_done_and_what_comes_next(run: Run) -> None:
    shown = printed(render_show(show(run)))
    for word in ("finished", "not finished", "kept", "smollm2", "95% interval", "next: qrdistill report"):
        assert word in shown
