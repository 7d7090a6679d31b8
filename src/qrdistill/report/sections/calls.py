"""What was asked of teachers and judges, and how the calls ended, retries and failures included."""

from __future__ import annotations

from collections import Counter, defaultdict

from qrdistill.report.reading import few, real, rows, whole
from qrdistill.report.tables import NONE, Cell, Table, count, dollars, table
from qrdistill.report.text import as_text
from qrdistill.store import Run
from qrdistill.teacher.client.classify import MAYBE_BILLED


def call_tables(run: Run) -> tuple[Table, ...]:
    """One table of calls by teacher or judge and outcome; none where nobody is called (replayed paths)."""
    # A judge's attempts belong to "judge/NAME@HASH/PATH_ID", where the hash has eight digits.
    who = "coalesce(r.teacher, 'judge ' || substr(a.path_id, 7, instr(a.path_id, '@') - 7))"
    sql = (
        f"SELECT {who}, a.outcome, count(*), sum(a.prompt_tokens), sum(a.completion_tokens), sum(a.cost_usd) FROM attempts a "
        "LEFT JOIN requests r ON r.id = a.path_id WHERE r.id IS NOT NULL OR instr(a.path_id, 'judge/') = 1 GROUP BY 1, 2"
    )
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    tokens: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    cost: dict[str, float] = defaultdict(float)
    maybe: dict[str, float] = defaultdict(float)
    for teacher, outcome, number, prompt, completion, paid in rows(run, sql):
        name = as_text(teacher)
        outcomes[name][as_text(outcome)] += whole(number)
        tokens[name] = [tokens[name][0] + whole(prompt), tokens[name][1] + whole(completion)]
        (maybe if as_text(outcome) in MAYBE_BILLED else cost)[name] += real(paid)
    if not outcomes:
        return ()
    kinds = few([kind for numbers in outcomes.values() for kind in numbers], ["ok"])
    body: list[list[Cell | str]] = []
    for name in few(list(outcomes), [teacher.name for teacher in run.config.generate.teachers]):
        numbers = outcomes[name]
        ended = [count(numbers[kind]) if numbers[kind] else NONE for kind in kinds]
        money = [dollars(cost[name]), dollars(maybe[name]) if maybe[name] else NONE]
        body.append([name, count(numbers.total()), *ended, *(count(number) for number in tokens[name]), *money])
    heads = ["Who", "Calls", *kinds, "Prompt tokens", "Completion tokens", "Billed", "Perhaps billed"]
    note = (
        "Perhaps billed: the most that calls without a whole reply may have cost, because the reply was lost or the process "
        "ended while they were under way."
    )
    return (table("Calls to teachers and judges by how they ended", heads, body, note=note),)
