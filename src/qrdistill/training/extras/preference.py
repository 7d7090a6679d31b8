"""A last phase that sets right paths against wrong ones of the same question: ORPO or DPO (see `qrdistill.losses.preference`).

Right paths are those the filter kept, wrong ones those it dropped for their answer; a pair has one style where the question has
such a pair. The phase begins when the ordinary training is over and has a constant learning rate. With a token budget it takes
the share that was kept for it (both paths of a pair count), without one it goes once over the questions that have pairs.

Shapes: R pairs of a step, P = 2 R paths (right, wrong, right, ...), S students.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qrdistill.config import DpoConfig, OrpoConfig
from qrdistill.errors import DataError
from qrdistill.losses.preference import dpo_loss, orpo_loss
from qrdistill.routing.policy import step_generator
from qrdistill.students import Student
from qrdistill.teacher.streams import Asked
from qrdistill.training.extras.base import Desk, Extra
from qrdistill.training.extras.own_samples import taught
from qrdistill.training.forward import Forward, Observation, backward
from qrdistill.training.pool import PoolPath, PoolQuestion, StepWork, pool_path, step_work
from qrdistill.training.step import Method, look, read
from qrdistill.types import FilterDecision, ReasoningPath

if TYPE_CHECKING:
    from qrdistill.training.trainer import Trainer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """A training question with its right and its wrong paths."""

    question: PoolQuestion
    right: tuple[PoolPath, ...]
    wrong: tuple[PoolPath, ...]

    def pair(self, generator: torch.Generator) -> PoolQuestion:
        """The question with one right path and one wrong one, of one style where there is such a pair."""
        pairs = [(right, wrong) for right in self.right for wrong in self.wrong]
        alike = [pair for pair in pairs if pair[0].path.style == pair[1].path.style] or pairs
        return dataclasses.replace(self.question, paths=alike[int(torch.randint(len(alike), (), generator=generator))])


class Preference(Extra):
    """The final phase; `losses` gives the loss of each pair [R] from the paths' token losses."""

    def __init__(self, config: OrpoConfig | DpoConfig) -> None:
        self.config = config
        self.kind = config.kind
        self.token_frac = config.token_frac
        self._began_at = -1
        self._reference: dict[str, Tensor] = {}
        """DPO: each path's token losses under the students as they were when the phase began [S]."""

    def after_steps(self, trainer: Trainer, desk: Desk) -> None:
        """Step until the budget is used up, or once over the questions.

        Raises:
            DataError: no question has a right and a wrong path.
        """
        rivals = find_rivals(trainer)
        if not rivals:
            raise DataError(
                f"method.extras: {self.kind} needs questions with a right and a wrong path, and none has both; "
                "ask for more samples or styles, switch filter.check_answers on, or leave it out"
            )
        method = dataclasses.replace(trainer.method, sketches=[None] * len(trainer.team.students), peers=None)
        if self._began_at < 0:
            self._began_at = trainer.step
            self._reference = self._measure(trainer, method, rivals) if self.kind == "dpo" else {}
        size = trainer.config.training.questions_per_step
        steps_a_pass = math.ceil(len(rivals) / size)
        budget = trainer.config.training.max_label_tokens
        desk.progress.note(f"{self.kind}: right paths against wrong ones of {len(rivals)} questions")
        while any(trainer.is_trained_and_below(budget)) if budget else trainer.step - self._began_at < steps_a_pass:
            turn, place = divmod(trainer.step - self._began_at, steps_a_pass)
            draws = step_generator(trainer.config.seed, "pairs", turn)
            order = torch.randperm(len(rivals), generator=draws).tolist()
            pairs = [each.pair(draws) for each in rivals]
            work = step_work([pairs[index] for index in order[place * size : (place + 1) * size]])
            began_s = time.perf_counter()
            line = self._step(trainer, method, work, budget)
            trainer.step += 1
            desk.log({"train/seconds_s": round(time.perf_counter() - began_s, 3), **line})
            if trainer.step % trainer.config.training.checkpoint_steps == 0:
                desk.save()
        desk.save()

    def _step(self, trainer: Trainer, method: Method, work: StepWork, budget: int) -> dict[str, float]:
        team = trainer.team
        taking_PS = self._within(trainer, work, budget)
        forwards = read(team, work, taking_PS, method.row_tokens)
        observations = look(team, work, forwards, method, None, is_grad_PS=taking_PS)
        slopes = [self._slope(work, seen, taking_PS[:, index], index) for index, seen in enumerate(observations)]
        team.map(_add_gradients, forwards, observations, [slope_P for slope_P, _ in slopes], trainer.optimizers)
        team.ranks.add_gradients(team.students)
        team.map(team.ranks.clip_gradients, [method.max_grad_norm] * len(forwards))
        line: dict[str, float] = {}
        for index, (student, optimizer) in enumerate(zip(team.students, trainer.optimizers, strict=True)):
            if optimizer is None or not taking_PS[:, index].any():
                continue
            for group in optimizer.param_groups:
                group["lr"] = student.config.learning_rate * self.config.learning_rate_frac
            optimizer.step()
            trainer.label_tokens[index] += int(observations[index].state.num_tokens_P.sum())
            line |= {f"preference/{key}/{student.name}": value for key, value in slopes[index][1].items()}
        return line

    def _within(self, trainer: Trainer, work: StepWork, budget: int) -> Tensor:
        """Which paths each student reads [P, S]: whole pairs, as long as it has tokens left."""
        taking_PS = torch.zeros(len(work.paths), len(trainer.team.students), dtype=torch.bool)
        for index, is_open in enumerate(trainer.is_trained_and_below(budget or math.inf)):
            used = trainer.label_tokens[index]
            for row in range(0, len(work.paths), 2):
                if is_open and (not budget or used < budget):
                    taking_PS[row : row + 2, index] = True
                    used += sum(len(path.tokens[index].response_ids) for path in work.paths[row : row + 2])
        return taking_PS

    def _slope(self, work: StepWork, seen: Observation, is_taken_P: Tensor, index: int) -> tuple[Tensor, dict[str, float]]:
        """Derivative of the mean loss by the nll of each path [P], and what to write down."""
        slope_P = torch.zeros(len(work.paths))
        rows_R2 = is_taken_P.nonzero().reshape(-1, 2)
        if not len(rows_R2):
            return slope_P, {}
        nll_R2 = seen.state.nll_P[rows_R2].detach().requires_grad_()
        loss_R = self._losses(work, nll_R2, seen.state.num_tokens_P[rows_R2], rows_R2, index)
        loss_R.mean().backward()  # type: ignore[no-untyped-call]
        assert nll_R2.grad is not None
        slope_P[rows_R2] = nll_R2.grad
        mean_R2 = nll_R2.detach() / seen.state.num_tokens_P[rows_R2]
        margin = float((mean_R2[:, 1] - mean_R2[:, 0]).mean())
        return slope_P, {"loss": float(loss_R.detach().mean()), "margin_nats_per_token": margin}

    def _losses(self, work: StepWork, nll_R2: Tensor, tokens_R2: Tensor, rows_R2: Tensor, index: int) -> Tensor:
        if isinstance(self.config, OrpoConfig):
            return orpo_loss(nll_R2, tokens_R2, weight=self.config.weight)
        known = [[float(self._reference[work.paths[row].path.id][index]) for row in pair] for pair in rows_R2.tolist()]
        return dpo_loss(nll_R2, torch.tensor(known), beta=self.config.beta)

    def _measure(self, trainer: Trainer, method: Method, rivals: Sequence[Rivals]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for each in rivals:
            work = step_work([dataclasses.replace(each.question, paths=(*each.right, *each.wrong))])
            everything_PS = torch.ones(len(work.paths), len(trainer.team.students), dtype=torch.bool)
            with torch.no_grad():
                forwards = read(trainer.team, work, everything_PS, method.row_tokens)
                seen = look(trainer.team, work, forwards, method, None)
            nll_PS = torch.stack([one.state.nll_P for one in seen], dim=1)
            found |= {path.path.id: row for path, row in zip(work.paths, nll_PS, strict=True)}
        return found

    def summary(self) -> dict[str, int]:
        """When the phase began."""
        return {f"{self.kind}_began_at_step": self._began_at}

    def state(self) -> dict[str, Tensor]:
        """When the phase began, and the reference."""
        return {"began_at": torch.tensor(self._began_at)} | {f"reference/{name}": row for name, row in self._reference.items()}

    def load_state(self, trainer: Trainer, state: dict[str, Tensor]) -> None:
        """Go on in the phase."""
        self._began_at = int(state["began_at"])
        self._reference = {
            name.removeprefix("reference/"): row.clone() for name, row in state.items() if name.startswith("reference/")
        }


def find_rivals(trainer: Trainer) -> list[Rivals]:
    """Training questions with right and wrong paths that stand behind the same prompt and fit every student's window twice."""
    run, ranks, students = trainer.run, trainer.team.ranks, trainer.team.students
    dropped = ranks.tell_records(FilterDecision, lambda: run.ledger.all(FilterDecision, "reason = 'differ'"))
    ids = {decision.path_id for decision in dropped}
    paths = ranks.tell_records(ReasoningPath, lambda: [path for path in run.ledger.iterate(ReasoningPath) if path.id in ids])
    wrong_of: dict[str, list[ReasoningPath]] = defaultdict(list)
    for path in paths:
        wrong_of[path.question_id].append(path)
    found = []
    for question in trainer.train_pool:
        right = [path for path in taught(question) if _fits(students, [path]) and _is_plain(students, question, path)]
        wrong = [
            pooled
            for path in wrong_of[question.question.id]
            if (pooled := _wrong(students, question, path)) and _fits(students, [pooled])
        ]
        if right and wrong:
            found.append(Rivals(question=question, right=tuple(right), wrong=tuple(wrong)))
    return found


def _wrong(students: Sequence[Student], question: PoolQuestion, path: ReasoningPath) -> PoolPath | None:
    try:
        return pool_path(students, Asked(question=question.question, path=path, prompt=question.prompt), 1.0, None)
    except DataError:  # longer than a student's window; only kept paths have to fit
        return None


def _fits(students: Sequence[Student], paths: Sequence[PoolPath]) -> bool:
    """Whether two paths of this length stay below one window, so that a pair is no longer than the longest path may be."""
    return all(
        2 * len(path.tokens[index].response_ids) <= student.max_length for index, student in enumerate(students) for path in paths
    )


def _is_plain(students: Sequence[Student], question: PoolQuestion, path: PoolPath) -> bool:
    return all(
        path.tokens[index].prompt_ids == tuple(student.template.prompt_ids(question.prompt))
        for index, student in enumerate(students)
    )


def _add_gradients(
    student: Student, forward: Forward, seen: Observation, slope_P: Tensor, optimizer: torch.optim.Optimizer | None
) -> None:
    if optimizer is None:
        return
    optimizer.zero_grad(set_to_none=True)
    if slope_P.any():
        backward(student, forward, seen, slope_P[forward.path_of_N], None)
