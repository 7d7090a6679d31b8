"""Answering requests from worked solutions, and planting flaws.

A path is a pure function of the run's seed and the request's id, so a resumed run writes the same text. Two rates decide
which flaw a path carries. A *wrong answer* is a slip that is carried to the end; a *spurious step* is a slip the reader can
see in the text while the answer stays right (the solver goes on with the right value, or cancels the slip with a second one).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from random import Random

from qrdistill.config import WorkedSolutionTeacherConfig
from qrdistill.errors import ConfigError
from qrdistill.tasks.base import Slip, SlipKind, Solution, SolvableTask, Task
from qrdistill.tasks.programs import ProgramError, run_program
from qrdistill.teacher.base import Reply
from qrdistill.teacher.worked_solution.streams import STREAM_WRITERS, Work
from qrdistill.teacher.worked_solution.writers import WRITERS
from qrdistill.types import Attempt, Flaw, PathRequest, PlantedFlaw, Question, ReasoningPath

TRIES = 40
"""Slips tried before a question is found to have no room for the flaw."""


class WorkedSolutionTeacher:
    """A teacher that needs no key and no network.

    Args:
        config: name and flaw rates.
        tasks: the run's tasks; each must be solvable.
        seed: the run's seed.
        num_spare: new questions are drawn from so many behind the first so many training questions of a task.

    Raises:
        ConfigError: a task cannot solve its questions.
    """

    version = "1"

    def __init__(self, config: WorkedSolutionTeacherConfig, *, tasks: Mapping[str, Task], seed: int, num_spare: int = 60) -> None:
        self.name = config.name
        self._config = config
        self._seed = seed
        self._num_spare = max(num_spare, 1)
        self._tasks: dict[str, SolvableTask] = {}
        for name, task in tasks.items():
            if not isinstance(task, SolvableTask):
                raise ConfigError(
                    f"teacher {config.name!r} of kind worked_solution cannot answer task {name!r}, which has no worked "
                    "solutions; use a replay or an openai_compatible teacher for it"
                )
            self._tasks[name] = task

    def sampling(self, style: str) -> str:
        """The flaw rates and the seed, as canonical JSON.

        Raises:
            ConfigError: there is no writer for the style.
        """
        if style not in WRITERS and style not in STREAM_WRITERS:
            raise ConfigError(
                f"teacher {self.name!r} of kind worked_solution has no way to write the style {style!r}, "
                f"only {', '.join([*WRITERS, *STREAM_WRITERS])}; leave it out of generate.styles or use a teacher that "
                "reads templates"
            )
        rates = f'"spurious_rate":{self._config.spurious_rate},"wrong_rate":{self._config.wrong_rate}'
        return f'{{"seed":{self._seed},{rates}}}'

    async def answer(self, work: Iterable[tuple[PathRequest, Question]]) -> AsyncIterator[Reply]:
        """Write every path at once."""
        for request, question in work:
            yield self.reply(request, question)

    def reply(self, request: PathRequest, question: Question) -> Reply:
        """One path with its hidden truth."""
        started_s = time.time()
        random = Random(f"{self._seed}/{request.id}")
        flaw = self._draw_flaw(random)
        write = self._write_stream if request.style in STREAM_WRITERS else self._write
        text, planted = write(question, request.style, flaw, random)
        path = ReasoningPath(
            id=request.id,
            question_id=question.id,
            teacher=self.name,
            style=request.style,
            sample=request.sample,
            text=text,
            state="done" if text else "refused",
            model=f"{self.name}-{self.version}",
        )
        attempt = Attempt(
            id=f"{request.id}/{time.time_ns():x}",
            path_id=request.id,
            started_s=started_s,
            finished_s=time.time(),
            outcome="ok",
        )
        flawed = PlantedFlaw(path_id=request.id, flaw=planted[0], step=planted[1])
        return Reply(request=request, path=path, attempts=(attempt,), planted=flawed)

    def _draw_flaw(self, random: Random) -> Flaw:
        position = random.random()
        if position < self._config.wrong_rate:
            return "wrong_answer"
        if position < self._config.wrong_rate + self._config.spurious_rate:
            return "spurious_step"
        return "none"

    def _write(self, question: Question, style: str, flaw: Flaw, random: Random) -> tuple[str, tuple[Flaw, str]]:
        solve = self._tasks[question.task].solve
        writer = WRITERS[style]
        phrasing = random.random()
        clean = solve(question)
        for slip in _slips(clean, writer.sections, flaw, random):
            solution = solve(question, slip)
            text = writer.write(solution, Random(phrasing))
            if _carries(solution, text, flaw, style, question.gold):
                return text, (flaw, solution.flawed if solution.flawed in text else "")
        return writer.write(clean, Random(phrasing)), ("none", "")

    def _write_stream(self, question: Question, style: str, flaw: Flaw, random: Random) -> tuple[str, tuple[Flaw, str]]:
        """Streams carry wrong answers only: a slip on the way to the answer, whichever question is answered."""
        task = self._tasks[question.task]
        place, phrasing = random.random(), random.random()
        is_wrong = flaw == "wrong_answer"

        def worked(question: Question) -> Solution:
            clean = task.solve(question)
            slips = _slips(clean, frozenset(), "wrong_answer" if is_wrong else "none", Random(phrasing))
            wrong = (task.solve(question, slip) for slip in slips)
            return next((solution for solution in wrong if solution.answer != question.gold), clean)

        def spare() -> tuple[Question, Solution]:
            drawn = task.questions("train", 2 * self._num_spare)[self._num_spare :]
            chosen = drawn[int(place * len(drawn))]
            return chosen, worked(chosen)

        is_backward = style in ("backward_question", "backward_reasoning")  # it starts from the right answer
        solution = task.solve(question) if is_backward else worked(question)
        text = STREAM_WRITERS[style](
            Work(question=question, solution=solution, spare=spare, is_wrong=is_wrong, random=Random(phrasing))
        )
        is_planted = (
            is_wrong and bool(text) and style != "backward_question" and (is_backward or solution.answer != question.gold)
        )
        return text, ("wrong_answer" if is_planted else "none", "")


def _slips(clean: Solution, sections: frozenset[str], flaw: Flaw, random: Random) -> Iterator[Slip]:
    """Slips to try, in random order: anywhere on the way to the answer for a wrong answer, in plain sight for a false step."""
    kinds: tuple[SlipKind, ...]
    if flaw == "none":
        return
    if flaw == "wrong_answer":
        kinds, places = ("carried",), frozenset({"fact", "step", "omission"})
    else:
        kinds, places = ("isolated", "compensated"), sections
    slots = [number for number, section in enumerate(clean.slots) if section in places]
    if not slots:
        return
    for _ in range(TRIES):
        yield Slip(slot=random.choice(slots), kind=random.choice(kinds), choice=random.randrange(1 << 16))


def _carries(solution: Solution, text: str, flaw: Flaw, style: str, gold: str) -> bool:
    """Whether the text really has the flaw: another answer, or the right answer with the flawed statement in sight."""
    if flaw == "wrong_answer":
        return solution.answer != gold
    if solution.answer != gold or not solution.flawed or solution.flawed not in text:
        return False
    return style != "program" or not _prints(solution.program, solution.printed)


def _prints(program: str, printed: str) -> bool:
    try:
        return run_program(program) == [printed]
    except ProgramError:
        return False
