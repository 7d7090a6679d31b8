"""What was asked of the teachers and how the calls ended, retries and failures included."""

from __future__ import annotations

from collections import Counter, defaultdict

from qrdistill.report.reading import few, real, rows, whole
from qrdistill.report.tables import NONE, Cell, Table, count, dollars, table
from qrdistill.report.text import as_text
from qrdistill.store import Run


def call_tables(run: Run) -> tuple[Table, ...]:
    """One table of calls by teacher and outcome; none where the teacher is not called (replayed paths)."""
    sql = (
        "SELECT r.teacher, a.outcome, count(*), sum(a.prompt_tokens), sum(a.completion_tokens), sum(a.cost_usd) "
        "FROM attempts a JOIN requests r ON r.id = a.path_id GROUP BY 1, 2"
    )
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    tokens: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    cost: dict[str, float] = defaultdict(float)
    for teacher, outcome, number, prompt, completion, paid in rows(run, sql):
        name = as_text(teacher)
        outcomes[name][as_text(outcome)] += whole(number)
        tokens[name] = [tokens[name][0] + whole(prompt), tokens[name][1] + whole(completion)]
        cost[name] += real(paid)
    if not outcomes:
        return ()
    kinds = few([kind for numbers in outcomes.values() for kind in numbers], ["ok"])
    body: list[list[Cell | str]] = []
    for name in few(list(outcomes), [teacher.name for teacher in run.config.generate.teachers]):
        numbers = outcomes[name]
        ended = [count(numbers[kind]) if numbers[kind] else NONE for kind in kinds]
        body.append([name, count(numbers.total()), *ended, *(count(number) for number in tokens[name]), dollars(cost[name])])
    heads = ["Teacher", "Calls", *kinds, "Prompt tokens", "Completion tokens", "Cost"]
    return (table("Calls to the teachers by how they ended", heads, body, note="A failed call is repeated and paid for again."),)
