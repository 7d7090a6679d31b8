"""The plain test-time prompt: the question, its options, and one short line on the form of the answer.

Students train and are tested on exactly this prompt, never on a style's template (METHOD section 4). It is short because a
student reads it once per path.
"""

from __future__ import annotations

from qrdistill.types import AnswerKind, Question

PROMPT_VERSION = "1"
"""Changes whenever the wording below does."""

ANSWER_FORMS: dict[AnswerKind, str] = {
    "number": "End with: The answer is <number>.",
    "math": "End with: The answer is <expression>.",
    "choice": "End with: The answer is <letter>.",
    "yesno": "End with: The answer is <yes or no>.",
    "nli": "End with: The answer is <entailment, neutral or contradiction>.",
}
"""What each kind of answer must look like."""


def question_block(question: Question) -> str:
    """The question and, one a line, its options."""
    return "\n".join([question.text, *(f"{label}. {text}" for label, text in question.choices)])


def answer_form(kind: AnswerKind) -> str:
    """The sentence that asks for the final answer."""
    return ANSWER_FORMS[kind]


def plain_prompt(question: Question) -> str:
    """The zero-shot prompt of a question."""
    return f"{question_block(question)}\n{answer_form(question.kind)}"
