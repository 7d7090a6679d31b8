"""From a run to its paid rooms: the caps that hold in it, the desk that books its calls, the teacher that makes them."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from qrdistill.config.endpoints import OpenAICompatibleTeacherConfig
from qrdistill.errors import ConfigError
from qrdistill.store import Run
from qrdistill.teacher.client.batch import LedgerJobs
from qrdistill.teacher.client.batch_teacher import BatchTeacher
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.checks import PaidStage, caps_of
from qrdistill.teacher.client.costs import spent_before
from qrdistill.teacher.client.desk import LedgerDesk
from qrdistill.teacher.client.money import Meter, require_price
from qrdistill.teacher.client.openai_compatible import OpenAICompatibleTeacher
from qrdistill.teacher.styles import render, styles_of

_meters: WeakKeyDictionary[Run, dict[PaidStage, Meter]] = WeakKeyDictionary()


def meter_of(run: Run, stage: PaidStage) -> Meter:
    """The meter of a stage: one in a process, so all its teachers or judges spend under the same caps.

    It starts with what the ledger says earlier processes spent, certain or not: a call that may have been billed counts.
    """
    meters = _meters.setdefault(run, {})
    teachers, judges = spent_before(run.ledger), spent_before(run.ledger, owner="*")
    by_stage = {"generate": teachers.most_usd, "filter": judges.most_usd}
    meter = meters.setdefault(stage, Meter())
    if meter.reserved_usd == 0:
        whole, own = meter.caps = caps_of(run.config, stage)
        whole.spent_usd, own.spent_usd = sum(by_stage.values()), by_stage[stage]
    return meter


def open_desk(run: Run, stage: PaidStage) -> LedgerDesk:
    """A desk in the run's ledger (which must be open for writing)."""
    return LedgerDesk(run.ledger, meter_of(run, stage))


def num_workers(run: Run) -> int:
    """Ray actors per endpoint; 0: calls are made in this process."""
    return run.config.runtime.workers if run.config.runtime.engine == "ray" else 0


def open_teacher(config: OpenAICompatibleTeacherConfig, run: Run) -> OpenAICompatibleTeacher | BatchTeacher:
    """The teacher a recipe names, paid from the run's budget.

    Raises:
        ConfigError: its address or key variable is not given, a cap is set and its price is not known, or it is to be asked in
            batches and its server has none.
    """
    where = f"teacher {config.name!r}"
    styles = styles_of(run.config.generate)
    target = resolve(config, where=where)
    require_price(target.price, meter_of(run, "generate"), where=where)
    teacher = OpenAICompatibleTeacher(
        config,
        prompt=lambda request, question: render(styles[request.style], question),
        seed=run.config.seed,
        desk=lambda: open_desk(run, "generate"),
        num_workers=num_workers(run),
    )
    if config.mode == "live":
        return teacher
    if config.mode == "batch" and not target.capabilities.batch:
        raise ConfigError(
            f"{where}: mode is batch, but the preset {config.preset!r} has no batch interface; "
            "set capabilities.batch: true if the server has one, or mode: live"
        )
    folder = run.batches if config.mode == "files" else None
    return BatchTeacher(teacher, jobs=LedgerJobs(run.ledger), folder=folder, poll_s=config.limits.poll_s)
