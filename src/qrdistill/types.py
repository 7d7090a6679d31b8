"""The frozen records that travel between rooms.

Every stage reads records of the stage before it and writes new ones; nothing is changed in place. Each record is one row of
the ledger (see :mod:`qrdistill.store`), so a field is a scalar, a string, or a tuple / mapping of those.

Ids: a question's id is unique in a run; a path's id is the hash of its grid identity (question, teacher, style, sample,
template version, sampling parameters), so the same request always has the same id and a hole can be refilled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
"""`validation` is held out of the *training* questions: it drives the router and is never trained on or reported as test."""

AnswerKind = Literal["choice", "yesno", "nli", "number", "math"]
"""How an answer is read and compared; see :func:`qrdistill.tasks.grade`."""

Verdict = Literal["match", "differ", "unparsed", "timeout"]
"""`unparsed`: no final answer was stated. `timeout`: the check did not finish; never counted as wrong, never trained on."""

PathState = Literal["done", "truncated", "refused", "empty", "wrong_model", "failed"]
"""What became of a request to a teacher. Only `done` paths can be trained on; the other states are counted and explained."""

Decision = Literal["keep", "drop", "unknown"]
"""A judge's finding. `unknown` (unclear or unreadable) is excluded from training but reported apart from `drop`."""

Flaw = Literal["none", "wrong_answer", "spurious_step"]
"""What the embedded teacher planted in a path; hidden from the pipeline, read only by audits and tests."""

Finish = Literal["stop", "length"]
"""Why decoding ended: `stop` = EOS or a stop rule, `length` = the token limit (the answer may be cut off)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question with its gold answer.

    `text` is the question as the task states it, without options or instructions (the task's `prompt` adds those).
    `gold` is the canonical answer: a choice label, "yes"/"no", "entailment"/"neutral"/"contradiction", a number or LaTeX.
    `choices` holds (label, text) pairs, empty unless kind is "choice".
    `family` groups questions of one sort inside a task, `level` is the difficulty as the task names it ("" if it has none).
    `metadata` is the task's own data (a generator's operands, a source row number); it never reaches a prompt.
    """

    id: str
    task: str
    split: Split
    text: str
    kind: AnswerKind
    gold: str
    choices: tuple[tuple[str, str], ...] = ()
    family: str = ""
    level: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRequest:
    """The intent to ask a teacher for one path: a cell of the grid question x teacher x style x sample."""

    id: str
    question_id: str
    teacher: str
    style: str
    sample: int
    template_version: str
    sampling: str
    """Sampling parameters as canonical JSON (part of the identity)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call made for a request, saved whatever came of it.

    `outcome` is "ok" or an error class, or "sent" while it is under way. Times are UNIX seconds: when it went out (while it is
    "sent": when it was booked), and when it ended. A call that waits for its place in the endpoint's limits has not gone out.
    """

    id: str
    path_id: str
    started_s: float
    finished_s: float
    outcome: str
    message: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningPath:
    """One reasoning path as the teacher wrote it. `text` is raw: extraction and grading happen later and can be redone."""

    id: str
    question_id: str
    teacher: str
    style: str
    sample: int
    text: str
    state: PathState = "done"
    model: str = ""
    """The model that answered, as the server named it."""
    reasoning: str = ""
    """Hidden thinking returned beside the reply (think tags or a reasoning field); never trained on."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFlaw:
    """Hidden truth about a path of the embedded teacher: which flaw it carries and where (`step` quotes the flawed step)."""

    path_id: str
    flaw: Flaw
    step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerVerdict:
    """Final-answer check of one path. `start`/`end` is the character span that was read (-1 when nothing was)."""

    path_id: str
    verdict: Verdict
    extracted: str = ""
    start: int = -1
    end: int = -1
    reason: str = ""
    is_strict: bool = False
    """True when the answer was explicitly stated in the asked-for form, False when lenient rules were needed."""
    grader_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeVerdict:
    """A judge's finding on the steps of one path. `step` quotes the failing step, `grade` is 1 (unsound) to 5, 0 = not graded."""

    path_id: str
    judge: str
    decision: Decision
    grade: int = 0
    step: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterDecision:
    """Whether a path enters the training pool, and why. Every path of the grid has exactly one.

    `reason` is "kept" or the name of the rule that dropped it (a state, a verdict, the judge, a duplicate, a leak).
    `quality` q in (0, 1] weights the path in the student loss (METHOD section 4); 0 for dropped paths.
    """

    path_id: str
    question_id: str
    style: str
    is_kept: bool
    reason: str
    detail: str = ""
    quality: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The router's decision for one path and one student at one optimizer step."""

    step: int
    epoch: int
    path_id: str
    student: str
    prob: float
    """Gate probability p in [0, 1] that the decision was drawn from."""
    is_routed: bool
    utility: float = float("nan")
    """Held-out utility r of the path for the student, standardised within the question; NaN where not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One greedy answer of a student to one test question. `arm` is "zero_shot" or "trained"."""

    id: str
    arm: str
    student: str
    question_id: str
    text: str
    finish: Finish
    num_tokens: int
    verdict: Verdict
    extracted: str = ""
    reason: str = ""
    is_strict: bool = False
    grader_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Accuracy of one student (or "vote", "oracle") on one task (or "all"), with its 95% Wilson interval [low, high]."""

    arm: str
    student: str
    task: str
    n: int
    num_correct: int
    accuracy: float
    low: float
    high: float
    unparsed_frac: float = 0.0
    truncated_frac: float = 0.0


Record = (
    Question
    | PathRequest
    | Attempt
    | ReasoningPath
    | PlantedFlaw
    | AnswerVerdict
    | JudgeVerdict
    | FilterDecision
    | Route
    | Prediction
    | Score
)
"""Everything the ledger can hold."""
