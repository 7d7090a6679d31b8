"""Streams: styles whose replies bring their own training prompt. Most published baselines are one or two of them.

========================  ===========================================  =====================================================
stream                    the student is asked                         and answers
========================  ===========================================  =====================================================
label                     the question, for the answer alone           the answer (Distilling Step-by-Step: its second task)
rephrase                  the question in other words                  a solution (Question Rephrasing)
new_question              a new question of the same sort              a solution (Question Augmentation)
backward_question         for a question that runs backwards           that question (RevThink)
backward_reasoning        a question that runs backwards               its solution (RevThink)
========================  ===========================================  =====================================================

At test time every student gets the plain prompt of its question, whatever it was trained on. A reply is read into the question
it answers and the response, and both are checked by the same filter as any path: a rephrased question must keep its answer, a
new one must come with an answer, and a backward solution must arrive at a number the original question states (RevThink's
consistency check). A backward question states no answer, so nothing is checked but its form.

Sources: Hsieh et al. 2023 (Distilling Step-by-Step), Yu et al. 2024 (MetaMath: rephrasing, self-verification, augmentation),
Chen et al. 2024 (RevThink).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

from qrdistill.tasks.answers import extract
from qrdistill.tasks.prompts import answer_form, question_block
from qrdistill.teacher.templates import Style
from qrdistill.types import Question, ReasoningPath

_PARTS = re.compile(
    r"\A\s*\**Question:?\**:?\s*(?P<question>.+?)\n\s*\**Solution:?\**:?\s*(?P<solution>.+)\Z", re.DOTALL | re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w])")
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]+(\S.*)$", re.MULTILINE)
_TWO_PARTS = (
    "Reply in two parts, each on a line of its own that begins with its name:\nQuestion: <the {what}>\nSolution: <its solution>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a path teaches: the prompt a student gets, the path as its response, and the question that is answered there.

    `has_answer` is false where the response states none (a written question). `problem` says why a reply cannot be read.
    """

    question: Question
    path: ReasoningPath
    prompt: str
    has_answer: bool = True
    problem: str = ""
    offset: int = 0
    """Where the response begins in the reply, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A style with a way to read its replies."""

    style: Style
    read: Callable[[Question, ReasoningPath], Asked]


def asked(question: Question, path: ReasoningPath, prompt: str) -> Asked:
    """What a path teaches; a path of an ordinary style answers its question behind the plain prompt."""
    if path.style in STREAMS and path.state == "done":
        return STREAMS[path.style].read(question, path)
    return Asked(question=question, path=path, prompt=prompt)


def _label(question: Question, path: ReasoningPath) -> Asked:
    prompt = f"{question_block(question)}\nGive the answer alone, without an explanation.\n{answer_form(question.kind)}"
    return Asked(question=question, path=path, prompt=prompt)


def _rephrase(question: Question, path: ReasoningPath) -> Asked:
    return _own_question(question, path, lambda text, solution: dataclasses.replace(question, text=text))


def _new_question(question: Question, path: ReasoningPath) -> Asked:
    def make(text: str, solution: str) -> Question:
        lines, options = text.splitlines(), tuple(_OPTION.findall(text)) if question.choices else ()
        asks = "\n".join(line for line in lines if not (options and _OPTION.match(line))).strip()
        found = extract(question.kind, options or None, solution) if bool(options) == bool(question.choices) else None
        return dataclasses.replace(question, text=asks, choices=options, gold=getattr(found, "value", "") or "", metadata={})

    return _own_question(question, path, make)


def _backward_reasoning(question: Question, path: ReasoningPath) -> Asked:
    def make(text: str, solution: str) -> Question:
        found = extract("number", None, solution)
        value = str(getattr(found, "value", "") or "").replace(",", "")
        stated = {number.replace(",", "") for number in _NUMBER.findall(question.text)}
        gold = value if value in stated else ""
        return dataclasses.replace(question, text=text, choices=(), kind="number", gold=gold, metadata={})

    return _own_question(question, path, make)


def _backward_question(question: Question, path: ReasoningPath) -> Asked:
    prompt = (
        f"{question_block(question)}\nWrite the question that asks for a number of this one, given its answer {question.gold}."
    )
    return Asked(question=question, path=path, prompt=prompt, has_answer=False)


def _own_question(question: Question, path: ReasoningPath, make: Callable[[str, str], Question]) -> Asked:
    found = _PARTS.match(path.text)
    if found is None:
        problem = "the reply does not have the two parts Question: and Solution:"
        return Asked(question=question, path=path, prompt="", problem=problem)
    text, solution = found["question"].strip(), found["solution"].rstrip()
    own = make(text, solution)
    is_listed = all(choice in text for _, choice in own.choices)  # a teacher may repeat the options or leave them out
    block = text if is_listed else question_block(own)
    problem = "" if own.gold else "the answer of the solution does not fit the question it belongs to"
    return Asked(
        question=own,
        path=dataclasses.replace(path, text=solution),
        prompt=f"{block}\n{answer_form(own.kind)}",
        problem=problem,
        offset=found.start("solution"),
    )


_STREAMS = (
    Stream(
        style=Style(
            name="label",
            template="{question}\n\nReply with the final answer and nothing else.\n{answer_form}",
            why="the answer alone: the second task of Distilling Step-by-Step",
        ),
        read=_label,
    ),
    Stream(
        style=Style(
            name="rephrase",
            template=(
                "{question}\n\nSay this question in other words: keep every number, condition and option, so that the "
                f"answer stays the same. Then solve it step by step. "
                f"{_TWO_PARTS.format(what='question in other words')}\n{{answer_form}}"
            ),
            why="Question Rephrasing: the same problem in other words",
        ),
        read=_rephrase,
    ),
    Stream(
        style=Style(
            name="new_question",
            template=(
                "{question}\n\nWrite a new question of the same sort and difficulty, with other facts or numbers and, if it has "
                "options, with options of its own, each on a line. Then solve it step by step. "
                f"{_TWO_PARTS.format(what='new question')}\n{{answer_form}}"
            ),
            why="Question Augmentation: a new problem of the same sort",
        ),
        read=_new_question,
    ),
    Stream(
        style=Style(
            name="backward_question",
            template=(
                "{question}\nThe answer is {gold}.\n\nWrite the question that runs backwards: it states this answer, leaves out "
                "one of the numbers or facts given here, and asks for it. Reply with that question and nothing else."
            ),
            why="RevThink: the backward question as something to write",
        ),
        read=_backward_question,
    ),
    Stream(
        style=Style(
            name="backward_reasoning",
            template=(
                "{question}\nThe answer is {gold}.\n\nWrite the question that runs backwards: it states this answer, leaves out "
                "one of the numbers given here, and asks for it. Then solve that question step by step. "
                f"{_TWO_PARTS.format(what='backward question')} that ends with: The answer is <number>."
            ),
            why="RevThink: a backward question and its solution",
        ),
        read=_backward_reasoning,
    ),
)
STREAMS: dict[str, Stream] = {stream.style.name: stream for stream in _STREAMS}
"""Every stream by the name of its style."""
