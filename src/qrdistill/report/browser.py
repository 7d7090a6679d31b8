"""The data behind the page's path browser: an index of all questions, and blocks of stories that are unpacked when needed.

Each block is JSON, deflated and base64-encoded, so that a report on 100,000 paths stays below 20 MB and opens at once. When
the texts of a run do not fit, whole questions lose their texts by the hash of their id (so what stays is a fair sample);
the verdicts, routes and outcomes of every path always stay, and the page says what was left out. See decision 0041.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qrdistill.report.explain import PathStory, Story, stories
from qrdistill.report.reading import answers, questions_of, real, rows, student_names
from qrdistill.report.story_text import findings
from qrdistill.report.tables import count
from qrdistill.report.text import as_text, marked, visible
from qrdistill.store import Run
from qrdistill.types import Prediction

TEXT_BUDGET_BYTES = 12_000_000
"""Encoded bytes the blocks may take while they still carry texts."""
INDEX_CHARS = 6_000_000
"""Characters of question text the index may hold; longer questions are cut there (never in their block)."""
BLOCK_QUESTIONS = 64
MAX_TEXT = 6_000
"""Characters of one text that are embedded."""
_BYTES_PER_CHAR = 0.42
"""Expected encoded bytes per character of text; a run that packs worse is held by the budget itself."""
_MARKS = {"": 0, "answer": 1, "step": 2}
_ORDER = "CASE split WHEN 'train' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END, task, id"


@dataclass(frozen=True, slots=True)
class BrowserData:
    """What the page embeds: names by number, the packed index, the packed blocks, and what was left out."""

    meta: dict[str, Any]
    index: str
    blocks: tuple[str, ...]
    note: str


class Names:
    """Numbers the distinct names of one sort in order of appearance."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._numbers: dict[str, int] = {}
        for name in names:
            self(name)

    def __call__(self, name: str) -> int:
        """The number of a name."""
        return self._numbers.setdefault(visible(name), len(self._numbers))

    def all(self) -> list[str]:
        """The names by number."""
        return list(self._numbers)


def pack(value: Any) -> str:
    """Deflated, base64-encoded JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 6)).decode("ascii")


def browser_data(run: Run, advance: Callable[[int], None] = lambda _: None) -> BrowserData:
    """Read every story of a run, a block of questions at a time.

    Args:
        run: a run with a ledger.
        advance: is told how many questions are done.
    """
    ids = [as_text(row[0]) for row in rows(run, f"SELECT id FROM questions ORDER BY {_ORDER}")]
    writer = _Writer(run, _text_share(run), _index_limit(run, len(ids)))
    blocks = []
    size = 0
    for block in _chunks(ids, BLOCK_QUESTIONS):
        packed = writer.block(block, has_texts=size < TEXT_BUDGET_BYTES)
        if size + len(packed) > TEXT_BUDGET_BYTES and size < TEXT_BUDGET_BYTES:
            size = TEXT_BUDGET_BYTES
            packed = writer.block(block, has_texts=False, is_again=True)
        size += len(packed)
        blocks.append(packed)
        advance(len(block))
    return BrowserData(writer.meta(), pack(writer.index), tuple(blocks), writer.note(len(ids)))


def _chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _text_share(run: Run) -> float:
    """The share of questions whose texts are expected to fit."""
    cut = f"sum(min(length(text), {MAX_TEXT}))"
    chars = sum(real(rows(run, f"SELECT coalesce({cut}, 0) FROM {table}")[0][0]) for table in ("paths", "predictions"))
    return min(1.0, TEXT_BUDGET_BYTES / (chars * _BYTES_PER_CHAR)) if chars else 1.0


def _index_limit(run: Run, num_questions: int) -> int:
    """Characters of each question that fit into the index."""
    for limit in (MAX_TEXT, 1_000, 300, 120):
        chars = rows(run, f"SELECT coalesce(sum(min(length(text), {limit})), 0) FROM questions")[0][0]
        if real(chars) <= INDEX_CHARS:
            return limit
    return max(20, INDEX_CHARS // num_questions)


class _Writer:
    """Turns stories into compact rows and keeps the index."""

    def __init__(self, run: Run, text_share: float, index_limit: int) -> None:
        self.run, self.text_share, self.index_limit = run, text_share, index_limit
        self.students, self.styles = Names(student_names(run)), Names(run.config.generate.styles)
        self.teachers, self.outcomes, self.tasks = Names(), Names(["kept"]), Names()
        self.arms, self.splits = Names(["zero_shot", "trained"]), Names(["train", "validation", "test"])
        self.index: dict[str, list[Any]] = {
            key: [] for key in ("id", "text", "about", "task", "split", "gold", "paths", "results")
        }
        self.num_without_text = self.num_cut = 0
        self._last_without = self._last_cut = 0
        self._results: dict[str, dict[tuple[str, str], bool]] = {}
        for answer in answers(run):
            self._results.setdefault(answer.question_id, {})[answer.student, answer.arm] = bool(answer.is_right)

    def meta(self) -> dict[str, Any]:
        """Names by number."""
        names = {
            key: getattr(self, key).all() for key in ("students", "styles", "teachers", "outcomes", "tasks", "arms", "splits")
        }
        return {**names, "block_questions": BLOCK_QUESTIONS, "num_questions": len(self.index["id"])}

    def note(self, num_questions: int) -> str:
        """What was left out, in a sentence; "" when everything is there."""
        parts = []
        if self.num_without_text:
            parts.append(
                f"To keep this file small, the texts of {count(self.num_without_text)} of {count(num_questions)} questions "
                "are left out (chosen by the hash of their id); what was decided about their paths is all here. "
                "Searches do not see texts that are left out."
            )
        if self.num_cut:
            parts.append(f"{count(self.num_cut)} long texts are cut after {count(MAX_TEXT)} characters.")
        return " ".join([*parts, "The whole story of a question: qrdistill explain RUN QUESTION_ID."]) if parts else ""

    def block(self, ids: Sequence[str], *, has_texts: bool, is_again: bool = False) -> str:
        """The packed stories of some questions; `is_again` replaces the previous block."""
        if is_again:
            self.num_without_text, self.num_cut = self._last_without, self._last_cut
        self._last_without, self._last_cut = self.num_without_text, self.num_cut
        by_id = {q.id: q for q in questions_of(self.run, ids)}
        written = []
        for story in stories(self.run, [by_id[name] for name in ids]):
            keeps_text = has_texts and _fraction(story.question.id) < self.text_share
            if not keeps_text and (story.paths or story.predictions):
                self.num_without_text += 1
            written.append(self._story(story, keeps_text))
            if not is_again:
                self._add_to_index(story)
        return pack(written)

    def _add_to_index(self, story: Story) -> None:
        question = story.question
        entry = {
            "id": visible(question.id),
            "text": visible(question.text[: self.index_limit]),
            "about": visible(" · ".join(part for part in (question.family, question.level) if part not in ("", question.task))),
            "task": self.tasks(question.task),
            "split": self.splits(question.split),
            "gold": visible(question.gold[:200]),
            "paths": [[self.styles(path.path.style), self.outcomes(_outcome(path))] for path in story.paths],
            "results": self._result_codes(question.id),
        }
        for key, value in entry.items():
            self.index[key].append(value)

    def _result_codes(self, question_id: str) -> list[int]:
        """Per student 3 x before + after, each 0 not asked, 1 not right, 2 right; empty where nobody was asked."""
        known = self._results.get(question_id)
        if not known:
            return []

        def code(student: str, arm: str) -> int:
            found = known.get((student, arm))
            return 0 if found is None else 1 + found

        return [3 * code(student, "zero_shot") + code(student, "trained") for student in student_names(self.run)]

    def _story(self, story: Story, keeps_text: bool) -> list[Any]:
        choices = [[visible(label), visible(self._cut(text))] for label, text in story.question.choices]
        paths = [self._path(path, keeps_text) for path in story.paths]
        whole = visible(self._cut(story.question.text)) if len(story.question.text) > self.index_limit else None
        return [choices, paths, [self._answer(prediction, keeps_text) for prediction in story.predictions], whole]

    def _path(self, story: PathStory, keeps_text: bool) -> list[Any]:
        path = story.path
        span = (story.verdict.start, story.verdict.end) if story.verdict else (-1, -1)
        pieces = marked(self._cut(path.text), answer=span, step=story.failing_step) if keeps_text else None
        routes = [
            [
                self.students(r.student),
                r.num_routed,
                r.num_decisions,
                round(r.first_prob, 2),
                round(r.last_prob, 2),
                _short(r.mean_utility),
            ]
            for r in story.routes
        ]
        return [
            self.styles(path.style),
            self.teachers(path.teacher),
            path.sample,
            self.outcomes(_outcome(story)),
            round(story.decision.quality, 2) if story.decision else 0,
            path.id[:8] if path.id.isascii() and path.id.isprintable() else visible(path.id[:8]),
            None if pieces is None else [[visible(piece), _MARKS[mark]] for piece, mark in pieces],
            [visible(line[:1000]) for line in findings(story)],
            routes,
        ]

    def _answer(self, prediction: Prediction, keeps_text: bool) -> list[Any]:
        return [
            self.students(prediction.student),
            self.arms(prediction.arm),
            prediction.verdict,
            visible(prediction.extracted[:200]),
            int(prediction.finish == "length"),
            visible(self._cut(prediction.text)) if keeps_text else None,
        ]

    def _cut(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.num_cut += 1
        return text[:MAX_TEXT] + " …"


def _outcome(story: PathStory) -> str:
    if story.decision is None:
        return "not decided yet"
    return "kept" if story.decision.is_kept else story.decision.reason


def _fraction(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:6], "big") / 2**48


def _short(value: float) -> float | None:
    return round(value, 2) if value == value else None
