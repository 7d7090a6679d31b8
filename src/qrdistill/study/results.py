"""From the arms' answers to study.json: means with intervals, paired differences, and whether an earlier study is reproduced.

::

    {"arms":   {NAME: {mean, low, high, n, seeds, train_tokens, unparsed_frac, truncated_frac, seconds,
                       students: {STUDENT: {same}}, tasks: {TASK: {same}},
                       team: {oracle, low, high, agreement, error_overlap}}},
     "paired": {"A-B": {diff, low, high, p_value, n, effect_h, students: {...}, tasks: {TASK: {same, p_holm}}}},
     "efficiency": {"mean" | STUDENT: {share, low, high, reached_frac, target, curves}},
     "questions": {QUESTION: {"task": TASK, "arms": {NAME: share of seeds and students that are right}}},
     "expected": {NAME: {mean, tolerance}}, "reproduced": {NAME: true | false},
     "max_label_tokens": ..., "seeds": [...], "versions": {...}, ...}

An arm's score of a question is the mean over its students. Intervals hold for other questions and other seeds (see
`qrdistill.evaluation.stats`); p-values of single tasks are Holm-adjusted within a pair. Each arm is about the seeds it has
results of (`seeds` counts them), a pair about those both have; `missing` names what a study that is not over has yet to run.
"""

from __future__ import annotations

import json
import math
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.config import Config, content_hash
from qrdistill.errors import DataError
from qrdistill.evaluation.stats import Estimate, bootstrap_over_seeds, cohen_h, holm, paired_over_seeds
from qrdistill.store.provenance import code_hash, versions
from qrdistill.study.efficiency import sample_efficiency
from qrdistill.study.together import team_figures

Result = dict[str, Any]
Answer = dict[str, Any]
Scores = list[dict[str, float]]
"""Per seed: question -> score."""


def read_results(paths: Sequence[Path]) -> list[Result]:
    """The results of arms as their workers left them."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def summarise(
    results: Sequence[Result],
    *,
    variants: Sequence[str],
    seeds: Sequence[int],
    tokens: int,
    budgets: Mapping[str, int],
    config: Config,
    expected: Mapping[str, Any] | None = None,
    missing: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare the arms of a study.

    Args:
        results: what the workers left.
        variants: the arms that are compared.
        seeds: of the study.
        tokens: the study's budget of label tokens.
        budgets: each arm's: the same, but for controls of equal compute.
        config: the recipe.
        expected: an earlier study, to say whether it is reproduced.
        missing: labels of the units whose results are not there yet.

    Raises:
        DataError: arms were trained on different numbers of tokens.
    """
    insist_on_equal_tokens(results, budgets, slack={student.name: student.max_length for student in config.students})
    table = _Table(results, variants, seeds)
    arms = {name: table.arm(name) for name in variants}
    efficiency = {
        label: found
        for label, students in table.groups().items()
        if not missing and (found := sample_efficiency({name: table.scores(name, students=students) for name in variants}))
    }
    study = {
        "name": config.name,
        "recipe_hash": content_hash(config.model_copy(update={"seed": 0, "runtime": type(config.runtime)()})),
        "variants": list(variants),
        "seeds": list(seeds),
        "students": [student.name for student in config.students],
        "max_label_tokens": tokens,
        "budgets": dict(budgets),
        "arms": arms,
        "paired": table.pairs(),
        **({"efficiency": efficiency} if efficiency else {}),
        **({"missing": list(missing)} if missing else {}),
        "questions": table.questions(),
        "expected": {
            name: {"mean": arm["mean"], "tolerance": round(math.sqrt(2) * (arm["high"] - arm["low"]) / 2 + 1e-4, 4)}
            for name, arm in arms.items()
        },
        "versions": {"python": platform.python_version(), **versions()},
        "code_sha256": code_hash(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    if expected is not None:
        study["reproduced"] = reproduced(arms, expected)
    return study


def reproduced(arms: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, bool]:
    """For each arm of an earlier study: whether this one's mean is within its tolerance.

    Raises:
        DataError: `earlier` holds no expected numbers.
    """
    expected = earlier.get("expected")
    if not isinstance(expected, Mapping):
        raise DataError("the earlier study holds no expected numbers; give a study.json that `qrdistill study` wrote")
    return {
        name: abs(arms[name]["mean"] - entry["mean"]) <= entry["tolerance"] for name, entry in expected.items() if name in arms
    }


def insist_on_equal_tokens(results: Sequence[Result], budgets: Mapping[str, int], *, slack: Mapping[str, int]) -> None:
    """Every trained student used up its arm's budget and went over it by less than one path (`slack`: its longest).

    Raises:
        DataError: names the arm that differs most.
    """
    worst = max(
        (
            (abs(student["train_tokens"] - budgets[result["arm"]]), result["arm"], result["seed"], name, student["train_tokens"])
            for result in results
            for name, student in result["students"].items()
            if result["kind"] == "arm"
            and not budgets[result["arm"]] <= student["train_tokens"] < budgets[result["arm"]] + slack.get(name, 1024)
        ),
        default=None,
    )
    if worst:
        _, arm, seed, name, used = worst
        raise DataError(
            f"the arms differ in training tokens: {arm}, seed {seed}, trained {name} on {used:,} label tokens, "
            f"expected {budgets[arm]:,}; delete that arm's result and folder and run the study again"
        )


class _Table:
    """Answers by arm, seed and student."""

    def __init__(self, results: Sequence[Result], variants: Sequence[str], seeds: Sequence[int]) -> None:
        self.variants, self.seeds = variants, seeds
        self.answers: dict[tuple[str, int], dict[str, dict[str, Answer]]] = defaultdict(dict)
        self.tokens: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.seconds: dict[str, float] = defaultdict(float)
        for result in results:
            self.seconds[result["arm"]] += result["seconds"]
            for name, student in result["students"].items():
                self.answers[result["arm"], result["seed"]][name] = student["answers"]
                self.tokens[result["arm"]][name].append(student["train_tokens"])

    def seeds_of(self, *arms: str) -> list[int]:
        """Seeds under which all of these arms have answers."""
        return [seed for seed in self.seeds if all(self.answers.get((arm, seed)) for arm in arms)]

    def students(self, arm: str) -> list[str]:
        """Students the arm has answers of."""
        return list(self.answers[arm, self.seeds_of(arm)[0]])

    def groups(self) -> dict[str, list[str]]:
        """The mean over the students that every arm has, and each of them: label -> students."""
        shared = [name for name in self.students(self.variants[0]) if all(name in self.students(arm) for arm in self.variants)]
        return {"mean": shared, **{name: [name] for name in shared}} if shared else {}

    def tasks(self) -> list[str]:
        """Every task."""
        return sorted(
            {a["task"] for by_student in self.answers.values() for column in by_student.values() for a in column.values()}
        )

    def scores(self, arm: str, *, students: Sequence[str], task: str = "", seeds: Sequence[int] = ()) -> Scores:
        """Per seed and question the share of students that are right; a check that timed out counts for nothing."""
        columns: Scores = []
        for seed in seeds or self.seeds_of(arm):
            right: dict[str, list[float]] = defaultdict(list)
            for student in students:
                for question, answer in self.answers[arm, seed][student].items():
                    if answer["verdict"] != "timeout" and task in ("", answer["task"]):
                        right[question].append(float(answer["verdict"] == "match"))
            columns.append({question: sum(values) / len(values) for question, values in sorted(right.items())})
        return columns

    def arm(self, arm: str) -> dict[str, Any]:
        """Means with intervals: of the whole, of each student, of each task (and of each student's tasks)."""
        students = self.students(arm)
        whole = self._cell(arm, students) | {"seconds": round(self.seconds[arm], 1)}
        whole["students"] = {
            name: self._cell(arm, [name]) | {"tasks": {task: self._cell(arm, [name], task) for task in self.tasks()}}
            for name in students
        }
        whole["tasks"] = {task: self._cell(arm, students, task) for task in self.tasks()}
        if len(students) > 1:
            whole["team"] = team_figures(
                [{name: self.answers[arm, seed][name] for name in students} for seed in self.seeds_of(arm)]
            )
        return whole

    def questions(self) -> dict[str, Any]:
        """Of every question each arm's share of right answers, over the students and the seeds that asked it."""
        found: dict[str, Any] = {}
        for arm in self.variants:
            right: dict[str, list[float]] = defaultdict(list)
            for column in self.scores(arm, students=self.students(arm)):
                for question, score in column.items():
                    right[question].append(score)
            for question, scores in right.items():
                shares = found.setdefault(question, {"task": "", "arms": {}})["arms"]
                shares[arm] = round(sum(scores) / len(scores), 4)
        for by_student in self.answers.values():
            for answers in by_student.values():
                for question in answers.keys() & found.keys():
                    found[question]["task"] = answers[question]["task"]
        return dict(sorted(found.items()))

    def _cell(self, arm: str, students: Sequence[str], task: str = "") -> dict[str, Any]:
        found = bootstrap_over_seeds(self.scores(arm, students=students, task=task))
        answers = [
            answer
            for seed in self.seeds_of(arm)
            for student in students
            for answer in self.answers[arm, seed][student].values()
            if task in ("", answer["task"])
        ]
        used = [tokens for student in students for tokens in self.tokens[arm][student]]
        return {
            "mean": round(found.mean, 6),
            "low": round(found.low, 6),
            "high": round(found.high, 6),
            "n": found.n,
            "seeds": len(self.seeds_of(arm)),
            "train_tokens": round(sum(used) / len(used)),
            "unparsed_frac": round(sum(a["verdict"] == "unparsed" for a in answers) / len(answers), 4),
            "truncated_frac": round(sum(a["is_truncated"] for a in answers) / len(answers), 4),
        }

    def pairs(self) -> dict[str, Any]:
        """Every two arms with students in common, qrdistill first where it is one of them."""
        ordered = sorted(self.variants, key=lambda name: name != "qrdistill")
        found: dict[str, Any] = {}
        for index, first in enumerate(ordered):
            for second in ordered[index + 1 :]:
                shared = [name for name in self.students(first) if name in self.students(second)]
                if shared and self.seeds_of(first, second):
                    found[f"{first}-{second}"] = self._pair(first, second, shared)
        return found

    def _pair(self, first: str, second: str, students: Sequence[str]) -> dict[str, Any]:
        seeds = self.seeds_of(first, second)

        def compare(names: Sequence[str], task: str = "") -> dict[str, Any]:
            left, right = (self.scores(arm, students=names, task=task, seeds=seeds) for arm in (first, second))
            return _difference(paired_over_seeds(left, right), _mean(left), _mean(right))

        whole = compare(students)
        whole["students"] = {
            name: _with_tasks(compare([name]), {task: compare([name], task) for task in self.tasks()}) for name in students
        }
        return _with_tasks(whole, {task: compare(students, task) for task in self.tasks()})


def _with_tasks(whole: dict[str, Any], cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Add the single tasks, their p-values adjusted for there being several."""
    adjusted = holm([cell["p_value"] for cell in cells.values()])
    return whole | {"tasks": {task: cell | {"p_holm": p} for (task, cell), p in zip(cells.items(), adjusted, strict=True)}}


def _difference(found: Estimate, first: float, second: float) -> dict[str, Any]:
    return {
        "diff": round(found.mean, 6),
        "low": round(found.low, 6),
        "high": round(found.high, 6),
        "p_value": round(found.p_value, 6),
        "n": found.n,
        "effect_h": round(cohen_h(first, second), 4),
    }


def _mean(scores: Scores) -> float:
    return sum(sum(column.values()) / len(column) for column in scores) / len(scores)
