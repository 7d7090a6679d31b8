"""The stages in their order: each is skipped when it is done, and its room is imported only when there is work for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import qrdistill
from qrdistill.config import Config, content_hash
from qrdistill.progress import SILENT, Progress
from qrdistill.store import STAGES, Run, Stage
from qrdistill.training.launch import num_ranks


def run_pipeline(
    config: Config,
    folder: str | Path,
    *,
    until: Stage = "report",
    is_update: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Run every stage up to `until` that is not done yet; the same call resumes after a crash.

    Under torchrun rank 0 runs the stages and the other ranks train along.

    Args:
        config: the recipe.
        folder: the run folder, made when missing.
        until: the last stage to run.
        is_update: accept a config that differs from the folder's; the stages that depend on the change run again.
        progress: told what is going on.

    Raises:
        ConfigError: a name in the recipe is not known, or a package it needs is missing (before anything is written).
        UnsafeConfigError: the folder was made with another config and `is_update` is false.
        RunInUseError: another process owns the folder.
    """
    from qrdistill.planning import check_names

    run = Run(folder, config, is_update=is_update)
    with company(run) as is_first:
        if not is_first:
            return run
        run.use_current_versions()
        todo = [stage for stage in STAGES[: STAGES.index(until) + 1] if not run.is_done(stage)]
        if todo:
            check_names(config, stages=todo)
        with run.owned():
            for stage in STAGES[: STAGES.index(until) + 1]:
                run_stage(run, stage, progress=progress)
    return run


@contextmanager
def company(run: Run) -> Iterator[bool]:
    """Whether this process does the work; under torchrun that is rank 0, and the others train along until it is done.

    Raises:
        PausedError: a rank died or stopped.
        UsageError: a rank was started with another recipe or version.
    """
    if num_ranks() == 1:
        yield True
        return
    from qrdistill.students import pick_device
    from qrdistill.training.loop import go_home, train_along
    from qrdistill.training.ranks import joined

    with joined(pick_device(run.config.runtime.device)) as ranks:
        ranks.insist_same("recipe or version of qrdistill", content_hash([content_hash(run.config), qrdistill.__version__]))
        if ranks.is_first:
            yield True
            go_home()
        else:
            train_along(run)
            yield False


def run_stage(run: Run, stage: Stage, *, progress: Progress = SILENT) -> bool:
    """Run one stage unless it is done.

    Returns:
        Whether there was work to do.
    """
    is_done = run.is_done(stage)
    if not is_done or stage == "report":  # the report also follows what a regrade changed; it looks for itself
        _ROOMS[stage](run, progress)
    else:
        progress.note(f"{stage}: already done for this config")
    return not is_done


def _generate(run: Run, progress: Progress) -> None:
    from qrdistill.teacher.generate import generate_paths

    generate_paths(run, progress=progress)


def _filter(run: Run, progress: Progress) -> None:
    from qrdistill.quality.filter import filter_paths

    filter_paths(run, progress=progress)


def _train(run: Run, progress: Progress) -> None:
    from qrdistill.training.loop import train

    train(run, progress=progress)


def _evaluate(run: Run, progress: Progress) -> None:
    from qrdistill.evaluation.evaluate import evaluate

    evaluate(run, progress=progress)


def _report(run: Run, progress: Progress) -> None:
    from qrdistill.report import write_report

    write_report([run], progress=progress)


_ROOMS: dict[Stage, Callable[[Run, Progress], None]] = {
    "generate": _generate,
    "filter": _filter,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}
