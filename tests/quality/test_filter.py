"""The filter: planted flaws are found, clean paths stay, every path has one decision, counts add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from qrdistill import Run, filter_paths, generate_paths
from qrdistill.config import Config, validate
from qrdistill.errors import DataError, UsageError
from qrdistill.quality import audit_filter
from qrdistill.quality.judge import Work
from qrdistill.quality.registry import JUDGES
from qrdistill.quality.step_checker import StepChecker
from qrdistill.tasks.reasoning import FAMILIES
from qrdistill.teacher import STYLES
from qrdistill.types import AnswerVerdict, Decision, FilterDecision, JudgeVerdict, PlantedFlaw, Question, ReasoningPath


def recipe(tmp_path: Path, paths: dict[tuple[str, str], str], **filter_settings: Any) -> Config:
    """Six questions "What is i + 2?" (5 train, 1 test) with the given recorded texts by (id, style)."""
    rows = [{"id": f"q{i}", "question": f"What is {i} + 2?", "answer": i + 2} for i in range(5)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "t0", "question": "What is 9 + 2?", "answer": 11}) + "\n")
    recorded = [{"id": id, "style": style, "response": text} for (id, style), text in paths.items()]
    (tmp_path / "paths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in recorded))
    return validate(
        {
            "name": "f",
            "questions": {
                "tasks": [
                    {
                        "kind": "jsonl",
                        "name": "sums",
                        "path": str(tmp_path / "train.jsonl"),
                        "test_path": str(tmp_path / "test.jsonl"),
                    }
                ],
                "num_train": 5,
                "num_validation": 0,
                "num_test": 1,
            },
            "generate": {
                "teachers": [{"kind": "replay", "path": str(tmp_path / "paths.jsonl")}],
                "styles": ["cot", "fact", "tot"],
            },
            "filter": filter_settings,
            "students": [{"name": "s", "source": {"kind": "tiny"}}],
        }
    )


def run_filter(tmp_path: Path, paths: dict[tuple[str, str], str], **filter_settings: Any) -> Run:
    run = Run(tmp_path / "run", recipe(tmp_path, paths, **filter_settings))
    generate_paths(run)
    filter_paths(run)
    return run


def decisions(run: Run) -> dict[tuple[str, str], FilterDecision]:
    return {(decision.question_id, decision.style): decision for decision in run.ledger.all(FilterDecision)}


def good(i: int, more: str = "") -> str:
    return f"{more}{i} + 2 = {i + 2}. The answer is {i + 2}."


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_flaws_are_found_and_clean_paths_stay(tmp_path: Path, seed: int) -> None:
    """The hidden truth is read here and nowhere else. All families, all styles, raised rates."""
    config = validate(
        {
            "name": "hidden",
            "seed": seed,
            "questions": {
                "tasks": [{"kind": "reasoning", "name": name} for name in FAMILIES],
                "num_train": 40,
                "num_validation": 5,
                "num_test": 1,
            },
            "generate": {"teachers": [{"kind": "worked_solution", "wrong_rate": 0.25, "spurious_rate": 0.25}]},
            "students": [{"name": "s", "source": {"kind": "tiny"}}],
        }
    )
    run = Run(tmp_path / "run", config)
    assert len(generate_paths(run)) == 6 * 45 * 6
    filter_paths(run)
    audit = audit_filter(run)
    assert audit["wrong_answer"].num_paths > 300
    assert audit["spurious_step"].num_paths > 300
    dropped = {flaw: found.num_dropped / found.num_paths for flaw, found in audit.items()}
    assert dropped["wrong_answer"] >= 0.99, audit["wrong_answer"].missed
    assert dropped["spurious_step"] >= 0.95, audit["spurious_step"].missed
    assert dropped["none"] <= 0.01, audit["none"].missed
    planted = {truth.path_id: truth for truth in run.ledger.all(PlantedFlaw)}
    found = {verdict.path_id: verdict for verdict in run.ledger.all(JudgeVerdict) if verdict.decision == "drop"}
    quoted = [path_id for path_id, verdict in found.items() if planted[path_id].flaw == "spurious_step"]
    text = {path.id: path.text for path in run.ledger.all(ReasoningPath)}
    assert all(found[path_id].step in text[path_id] for path_id in quoted), "the failing step is quoted from the path"
    styles = Counter(path.style for path in run.ledger.all(ReasoningPath) if planted[path.id].flaw == "spurious_step")
    assert all(styles[style] > 20 for style in STYLES)
    kinds = {question.kind for question in run.ledger.all(Question)}
    assert {"number", "choice", "yesno"} <= kinds


def test_every_path_has_one_decision_with_a_reason(tmp_path: Path) -> None:
    paths = {
        ("q0", "cot"): good(0),
        ("q0", "fact"): "0 + 2 = 3. The answer is 3.",
        ("q0", "tot"): "I cannot tell.",
        ("q1", "cot"): "1 + 1 = 3, 1 + 2 = 3. The answer is 3.",
        ("q1", "fact"): good(1),
        ("q1", "tot"): f"  {good(1).upper()}  ",
        ("q2", "cot"): "",
        ("q2", "fact"): "The answer is 4.",
        ("q3", "cot"): good(3),
    }
    run = run_filter(tmp_path, paths)
    found = decisions(run)
    reasons = {key: decision.reason for key, decision in found.items()}
    duplicates = sorted((reasons.pop(("q1", "fact")), reasons.pop(("q1", "tot"))))
    assert duplicates == ["duplicate", "kept"]
    assert reasons == {
        ("q0", "cot"): "kept",
        ("q0", "fact"): "differ",
        ("q0", "tot"): "unparsed",
        ("q1", "cot"): "judge",
        ("q2", "cot"): "empty",
        ("q2", "fact"): "kept",
        ("q3", "cot"): "kept",
    }
    assert "1 + 1 = 3" in found["q1", "cot"].detail
    summary = run.summary("filter")
    assert summary["num_paths"] == len(found) == sum(summary["by_reason"].values())
    assert summary["num_kept"] == sum(decision.is_kept for decision in found.values()) == summary["by_reason"]["kept"]
    assert sum(sum(counts.values()) for counts in summary["by_style"].values()) == len(found)
    assert summary["emptied_questions"] == ["q4"], "a question without a path is named"
    assert all((decision.quality > 0) == decision.is_kept == (decision.reason == "kept") for decision in found.values())
    verdicts = {verdict.path_id: verdict for verdict in run.ledger.all(AnswerVerdict)}
    assert {path.id for path in run.ledger.all(ReasoningPath) if path.state == "done"} == verdicts.keys()


def test_quality_is_relative_to_the_best_path_of_the_question(tmp_path: Path) -> None:
    run = run_filter(
        tmp_path, {("q0", "cot"): good(0), ("q0", "fact"): "Simple. The answer is 2.", ("q1", "cot"): "The answer is 3."}
    )
    found = decisions(run)
    assert found["q0", "cot"].quality == 1.0
    assert found["q0", "fact"].quality == pytest.approx(3 / 5)
    assert found["q1", "cot"].quality == 1.0, "the best path of a question counts fully"


def test_without_answer_check_wrong_answers_stay(tmp_path: Path) -> None:
    paths = {("q0", "cot"): "0 + 3 = 3. The answer is 3.", ("q1", "cot"): good(1)}
    run = run_filter(tmp_path, paths, check_answers=False, judge={"kind": "none"})
    assert all(decision.is_kept for decision in decisions(run).values())
    verdicts = {verdict.verdict for verdict in run.ledger.all(AnswerVerdict)}
    assert verdicts == {"differ", "match"}, "the verdict is still recorded"


def test_no_judge_keeps_spurious_steps(tmp_path: Path) -> None:
    paths = {("q1", "cot"): "1 + 1 = 3, 1 + 2 = 3. The answer is 3."}
    run = run_filter(tmp_path, paths, judge={"kind": "none"})
    assert decisions(run)["q1", "cot"].is_kept
    assert run.ledger.all(JudgeVerdict) == []


def test_a_training_question_that_is_a_test_question_is_refused(tmp_path: Path) -> None:
    config = recipe(tmp_path, {("q0", "cot"): good(0), ("q1", "cot"): good(1)})
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "t0", "question": "what is  0 + 2?", "answer": 2}) + "\n")
    run = Run(tmp_path / "run", config)
    generate_paths(run)
    filter_paths(run)
    found = decisions(run)
    assert (found["q0", "cot"].reason, found["q1", "cot"].reason) == ("leak", "kept")
    assert "t0" in found["q0", "cot"].detail


def test_no_surviving_path_at_all_is_an_error_with_the_funnel(tmp_path: Path) -> None:
    config = recipe(tmp_path, {("q0", "cot"): "The answer is 7.", ("q1", "cot"): "Hm."})
    run = Run(tmp_path / "run", config)
    generate_paths(run)
    with pytest.raises(DataError, match=r"no training path survives the filter \(2 paths: .*differ 1") as caught:
        filter_paths(run)
    assert caught.value.exit_code == 65
    assert "unparsed 1" in str(caught.value)
    assert len(decisions(run)) == 2, "the decisions can be looked at"


def test_filter_needs_the_generate_stage(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", recipe(tmp_path, {("q0", "cot"): good(0)}))
    with pytest.raises(UsageError, match="qrdistill generate"):
        filter_paths(run)


class Opinion:
    """A judge that answers from a table by question id and style, and counts what it is asked."""

    name = "opinion-1"
    is_exact = False

    def __init__(self, table: dict[tuple[str, str], tuple[Decision, int]]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def judge(self, work: Iterable[Work]) -> AsyncIterator[JudgeVerdict]:
        for question, path in work:
            if (question.id, path.style) in self.table:
                decision, grade = self.table[question.id, path.style]
                self.asked.append(path.id)
                yield JudgeVerdict(path_id=path.id, judge=self.name, decision=decision, grade=grade, reason="so I think")


@pytest.fixture
def opinion(monkeypatch: pytest.MonkeyPatch) -> Opinion:
    judge = Opinion({})
    monkeypatch.setitem(JUDGES, "step_checker", lambda config, run, tasks: judge)
    return judge


def test_an_opinion_never_empties_a_question(tmp_path: Path, opinion: Opinion) -> None:
    opinion.table = {
        ("q0", "cot"): ("drop", 1),
        ("q0", "fact"): ("drop", 2),
        ("q1", "cot"): ("unknown", 0),
        ("q2", "cot"): ("keep", 4),
        ("q2", "fact"): ("drop", 1),
    }
    paths = {key: good(int(key[0][1:]), more=f"By {key[1]}. ") for key in opinion.table} | {("q3", "cot"): good(3)}
    found = decisions(run_filter(tmp_path, paths))
    assert {key: decision.reason for key, decision in found.items()} == {
        ("q0", "cot"): "judge",
        ("q0", "fact"): "kept_last",
        ("q1", "cot"): "judge_unknown",
        ("q2", "cot"): "kept",
        ("q2", "fact"): "judge",
        ("q3", "cot"): "judge_missing",
    }
    assert found["q0", "fact"].is_kept
    assert found["q0", "fact"].quality == pytest.approx(2 / 5), "kept at its own low quality"
    assert not found["q1", "cot"].is_kept, "unclear findings are never trained on"


def test_a_proof_may_empty_a_question(tmp_path: Path) -> None:
    paths = {("q0", "cot"): "1 + 1 = 3, 0 + 2 = 2. The answer is 2.", ("q1", "cot"): good(1)}
    run = run_filter(tmp_path, paths)
    assert decisions(run)["q0", "cot"].reason == "judge"
    assert "q0" in run.summary("filter")["emptied_questions"]


def test_findings_are_reused_and_a_second_call_does_nothing(tmp_path: Path, opinion: Opinion) -> None:
    paths = {(f"q{i}", "cot"): good(i) for i in range(5)}
    opinion.table = dict.fromkeys(paths, ("keep", 4))
    run = run_filter(tmp_path, paths)
    before = {path.name: path.read_bytes() for path in run.exports.iterdir()}
    assert len(opinion.asked) == 5
    filter_paths(Run(run.folder))
    with run.owned():
        run.ledger.forget("stage/filter")
        run.ledger.delete(JudgeVerdict, "path_id = ?", (opinion.asked[0],))
    filter_paths(Run(run.folder))
    assert len(opinion.asked) == 6, "only what has no finding is judged"
    assert {path.name: path.read_bytes() for path in run.exports.iterdir()} == before


def test_a_judge_that_breaks_off_keeps_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks(StepChecker):
        async def judge(self, work: Iterable[Work]) -> AsyncIterator[JudgeVerdict]:
            for number, (question, path) in enumerate(work):
                if number == 3:
                    raise DataError("stopped")
                yield self.verdict(question, path.id, path.text)

    paths = {(f"q{i}", "cot"): good(i) for i in range(5)}
    run = Run(tmp_path / "run", recipe(tmp_path, paths))
    generate_paths(run)
    with monkeypatch.context() as patch:
        patch.setitem(JUDGES, "step_checker", lambda config, run, tasks: Breaks())
        with pytest.raises(DataError, match="stopped"):
            filter_paths(run)
    assert run.ledger.count(JudgeVerdict) == 3
    assert len(filter_paths(run)) == 5
