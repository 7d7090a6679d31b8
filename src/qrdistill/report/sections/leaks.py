"""What the leak gate found between test questions and everything that may be trained on."""

from __future__ import annotations

from qrdistill.report.reading import rows, total, whole
from qrdistill.report.tables import NONE, Cell, Table, count, percent, table
from qrdistill.report.text import as_text
from qrdistill.store import Run
from qrdistill.tasks.leakage import COVERAGE, RUN_WORDS


def leak_table(run: Run) -> Table:
    """The gate's result in one row a finding; before the filter has run it says so."""
    num_tests = total(run, "SELECT count(*) FROM questions WHERE split = 'test'")
    found = rows(run, "SELECT substr(detail, 1, 8) = 'the path', count(*) FROM decisions WHERE reason = 'leak' GROUP BY 1")
    by_path = {bool(of_path): whole(number) for of_path, number in found}
    questions = rows(run, "SELECT DISTINCT question_id FROM decisions WHERE reason = 'leak'")
    num_read = total(run, "SELECT count(*) FROM decisions d JOIN paths p ON p.id = d.path_id WHERE p.state = 'done'")
    body: list[list[Cell | str]] = [
        ["result", _result(run, num_dropped=sum(by_path.values()))],
        ["test questions", count(num_tests)],
        ["paths compared with them", count(num_read)],
        ["dropped, since the question gives a test question away", count(by_path.get(False, 0))],
        ["dropped, since the path repeats a test question", count(by_path.get(True, 0))],
        ["questions with a dropped path", ", ".join(as_text(name) for (name,) in questions[:8]) or NONE],
    ]
    note = (
        f"A leak has a test question's words, or runs of {RUN_WORDS} and more of them that cover {percent(COVERAGE, 0)} of "
        "what is not a template, with its numbers and its answer."
    )
    return table("Leak gate", ["What", "~Found"], body, note=note)


def _result(run: Run, *, num_dropped: int) -> Cell:
    allowed = run.summary("filter").get("num_leaks_allowed")
    if isinstance(allowed, int):
        return Cell(f"switched off: {count(allowed)} leaks were let through", tone="warning")
    if not run.is_done("filter"):
        return Cell("not run yet", tone="warning")
    return Cell(f"passed, {count(num_dropped)} paths dropped" if num_dropped else "passed, no leak found", tone="good")
