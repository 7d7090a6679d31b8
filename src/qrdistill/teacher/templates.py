"""The six prompt styles of the paper (section 1 of the method), in our own words.

A style says *how* the teacher should reason; the question and the form of the answer are the same for all. A template's hash
is part of a path's identity: change a word and the paths are asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass

from qrdistill.config import content_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to reason. `template` has the places {question} and {answer_form}; `why` says what the style is for."""

    name: str
    template: str
    why: str

    @property
    def template_version(self) -> str:
        """Hash of the template."""
        return content_hash(self.template)


_STYLES = (
    Style(
        name="vanilla",
        template="{question}\n\nAnswer briefly, with no more explanation than one short sentence.\n{answer_form}",
        why="the short answer a teacher gives unasked: cheap, and the control for every other style",
    ),
    Style(
        name="cot",
        template=(
            "{question}\n\nWork this out step by step. Put each intermediate result into its own short sentence, in the order "
            "you need them, and do not skip a calculation.\n{answer_form}"
        ),
        why="chain of thought: one forward derivation with every intermediate result written out",
    ),
    Style(
        name="tot",
        template=(
            "{question}\n\nWeigh at least two ways to approach this. Follow each one far enough to see whether it can be right, "
            "say why the weaker ones fail, and finish the one that holds.\n{answer_form}"
        ),
        why="tree of thoughts: candidates are followed, compared and dropped, so wrong turns are seen and named",
    ),
    Style(
        name="program",
        template=(
            "{question}\n\nWrite a short Python program that computes the answer and prints it. Then state what the program "
            "prints and conclude from that.\n{answer_form}"
        ),
        why="program of thought: the reasoning as code whose output can be checked by running it",
    ),
    Style(
        name="backward",
        template=(
            "{question}\n\nFirst reason forward to an answer. Then check it backwards: start from your answer, undo the steps "
            "one by one, and confirm that you arrive at what the question states.\n{answer_form}"
        ),
        why="backward check: the answer is traced back to the givens, which ties the two directions together",
    ),
    Style(
        name="fact",
        template=(
            "{question}\n\nBegin by recalling the facts and rules this question depends on. Then reach the answer using only "
            "those facts and the numbers given.\n{answer_form}"
        ),
        why="fact retrieval: knowledge is stated before it is used, so recall and reasoning are learned apart",
    ),
)
STYLES: dict[str, Style] = {style.name: style for style in _STYLES}
"""Every style by name."""
