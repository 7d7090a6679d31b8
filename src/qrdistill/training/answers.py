"""Trying styles out: students answer validation questions, each begun in a style, for the utility `success`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from qrdistill.config.method import SuccessUtilityConfig
from qrdistill.routing.success import SuccessUtility
from qrdistill.students import Student, decode
from qrdistill.tasks.base import Task
from qrdistill.training.pool import PoolQuestion, family
from qrdistill.training.ranks import ALONE
from qrdistill.training.team import Team
from qrdistill.types import Verdict


def opening(text: str, words: int) -> str:
    """The first words of a path, with the space after them: enough to set a style, not to give the answer away.

    >>> opening("Let us recall the facts: a dog has 4 legs.", 3)
    'Let us recall '
    """
    place = 0
    for _ in range(words):
        while place < len(text) and text[place].isspace():
            place += 1
        while place < len(text) and not text[place].isspace():
            place += 1
    return text[: place + 1] if place < len(text) else text[: len(text) // 2]


def try_styles(team: Team, utility: SuccessUtility, questions: Sequence[PoolQuestion], tasks: Mapping[str, Task]) -> None:
    """Let every student answer every question once, in the style its bandit chooses, and tell the utility.

    An answer whose check timed out is neither right nor wrong, so nothing is told of it. With several ranks each decodes its
    share of the questions; all of them where students are sharded, whose passes are in step.
    """
    ranks = team.ranks if not team.is_sharded else ALONE
    config: SuccessUtilityConfig = utility.config
    plans: list[list[tuple[PoolQuestion, str, str]]] = []
    for student in range(len(team.students)):
        plan = []
        for question in questions:
            by_style = {path.path.style: path.path.text for path in question.paths}
            style = utility.choose(student, sorted(by_style), family(question.question))
            plan.append((question, style, opening(by_style[style], config.cue_words)))
        plans.append(plan)

    def answer(student: Student, plan: Sequence[tuple[PoolQuestion, str, str]]) -> list[Verdict]:
        if not plan:
            return []
        begun = [cue for _, _, cue in plan]
        answers = decode(
            student, [question.prompt for question, _, _ in plan], max_new_tokens=config.max_new_tokens, openings=begun
        )
        return [
            tasks[question.question.task].grade(question.question, cue + reply.text).verdict
            for (question, _, cue), reply in zip(plan, answers, strict=True)
        ]

    right_SQ, late_SQ = torch.zeros(2, len(plans), len(questions))
    for student, mine in enumerate(team.map(answer, [plan[ranks.rank :: ranks.size] for plan in plans])):
        right_SQ[student, ranks.rank :: ranks.size] = torch.tensor([verdict == "match" for verdict in mine], dtype=torch.float)
        late_SQ[student, ranks.rank :: ranks.size] = torch.tensor([verdict == "timeout" for verdict in mine], dtype=torch.float)
    right_SQ, late_SQ = ranks.add(torch.stack([right_SQ, late_SQ]))
    for student, (plan, right, late) in enumerate(zip(plans, right_SQ.tolist(), late_SQ.tolist(), strict=True)):
        for (question, style, _), is_right, is_late in zip(plan, right, late, strict=True):
            if not is_late:
                utility.tell(student, style, family(question.question), is_right=bool(is_right))
