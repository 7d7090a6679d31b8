"""A second opinion on saved answers: lm-evaluation-harness's own filters and its exact match, beside this project's verdicts.

The filters, the strings a generation ends at and the metric's settings are read from the task files of the installed package, so
they are the harness's and not a copy. Each kind of answer is given to the tasks it resembles:

========  ============================================================================================================
number    ``gsm8k_cot_zeroshot``
choice    ``arc_challenge_chat`` (its prompt begins the reply with "The best answer is", so it is given what follows the
          last of these words) and ``bbh_cot_zeroshot_date_understanding``; options labelled A, B, C, ...
yesno     ``bbh_cot_zeroshot_causal_judgement``
========  ============================================================================================================

Both sides are asked the same thing: is the answer right? Neither is the truth; what the two disagree about is worth reading.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.errors import UsageError
from qrdistill.types import AnswerKind, Question, Verdict

TASK_FILES: Mapping[AnswerKind, tuple[str, ...]] = {
    "number": ("gsm8k/gsm8k-cot-zeroshot.yaml",),
    "choice": ("arc/arc_challenge_chat.yaml", "bbh/cot_zeroshot/date_understanding.yaml"),
    "yesno": ("bbh/cot_zeroshot/causal_judgement.yaml",),
}
"""Task files inside the package, by the kind of answer their filters read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A saved answer with the verdict of this project's grader. `by` names who answered."""

    question: Question
    by: str
    text: str
    verdict: Verdict
    extracted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An answer that is right to one side and not to the other, with what each read as the final answer."""

    question_id: str
    by: str
    filter: str
    gold: str
    ours: Verdict
    ours_read: str
    theirs: Verdict
    theirs_read: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often one filter and this project's grader say the same of `n` answers."""

    filter: str
    n: int
    num_agree: int
    disagreements: tuple[Disagreement, ...]


def cross_check(answers: Sequence[Answered]) -> list[Agreement]:
    """Compare saved verdicts with those of every filter of every task of the harness that fits; time-outs are left out.

    Raises:
        UsageError: lm-evaluation-harness is not installed.
    """
    found: list[Agreement] = []
    for kind, files in TASK_FILES.items():
        mine = [answer for answer in answers if answer.question.kind == kind and answer.verdict != "timeout"]
        mine = [answer for answer in mine if _is_lettered(answer.question)]
        for file in files if mine else ():
            found += [_compare(name, mine, theirs) for name, theirs in _verdicts(file, mine)]
    return found


def _compare(name: str, answers: Sequence[Answered], theirs: Sequence[tuple[bool, str]]) -> Agreement:
    disagreements = tuple(
        Disagreement(
            question_id=answer.question.id,
            by=answer.by,
            filter=name,
            gold=answer.question.gold,
            ours=answer.verdict,
            ours_read=answer.extracted,
            theirs="match" if is_right else "differ",
            theirs_read=read,
            text=answer.text,
        )
        for answer, (is_right, read) in zip(answers, theirs, strict=True)
        if is_right != (answer.verdict == "match")
    )
    return Agreement(filter=name, n=len(answers), num_agree=len(answers) - len(disagreements), disagreements=disagreements)


def _verdicts(file: str, answers: Sequence[Answered]) -> Iterator[tuple[str, list[tuple[bool, str]]]]:
    """Each filter of a task (task/filter), with (is right, what it read) of every answer."""
    task, build_filter, exact_match = _harness(file)
    settings = {key: value for key, value in task["metric_list"][0].items() if key in _METRIC_SETTINGS}
    replies = [_as_generated(answer.text, task) for answer in answers]
    for described in task["filter_list"]:
        steps = [(step.pop("function"), step or None) for step in map(dict, described["filter"])]
        instances = [_Instance(reply, _document(answer.question)) for reply, answer in zip(replies, answers, strict=True)]
        build_filter(described["name"], steps).apply(instances)
        read = [str(instance.filtered_resps[described["name"]]) for instance in instances]
        right = [
            bool(exact_match(references=[_target(answer.question, task)], predictions=[text], **settings)["exact_match"])
            for answer, text in zip(answers, read, strict=True)
        ]
        yield f"{task['task']}/{described['name']}", list(zip(right, read, strict=True))


_METRIC_SETTINGS = frozenset({"regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers"})


class _Instance:
    """What the harness's filters take: replies to one document, and room for what they make of them."""

    def __init__(self, reply: str, doc: Mapping[str, Any]) -> None:
        self.resps = [reply]
        self.doc = doc
        self.filtered_resps: dict[str, str] = {}


def _harness(file: str) -> tuple[dict[str, Any], Callable[..., Any], Callable[..., dict[str, Any]]]:
    """A task as its file describes it, the builder of its filters, and the metric."""
    try:
        import lm_eval.tasks
        from lm_eval.api.metrics import exact_match_fn
        from lm_eval.filters import build_filter_ensemble
        from lm_eval.tasks._yaml_loader import load_yaml
    except ImportError as error:
        raise UsageError(f"lm-evaluation-harness is not installed ({error}); run: pip install 'qrdistill[eval]'") from error
    return load_yaml(Path(lm_eval.tasks.__file__).parent / file), build_filter_ensemble, exact_match_fn


def _as_generated(text: str, task: Mapping[str, Any]) -> str:
    """The reply as the harness would have generated it: behind its prefix, up to the first string it stops at."""
    prefix = task.get("gen_prefix")
    if prefix and prefix in text:
        text = text.rpartition(prefix)[2]
    for stop in task["generation_kwargs"]["until"]:
        text = text.partition(stop)[0]
    return text


def _is_lettered(question: Question) -> bool:
    """Whether the options of a question, if it has any, are labelled A, B, C, ..."""
    return all(label == letter for (label, _), letter in zip(question.choices, string.ascii_uppercase, strict=False))


def _document(question: Question) -> dict[str, Any]:
    """A question as the documents of these tasks hold it."""
    options = "\n".join(f"({label}) {text}" for label, text in question.choices)
    return {"input": f"{question.text}\nOptions:\n{options}" if options else question.text, "question": question.text}


def _target(question: Question, task: Mapping[str, Any]) -> str:
    return f"({question.gold})" if question.kind == "choice" and task["task"].startswith("bbh") else question.gold
