"""Every reason the filter really gives has its gate in the report's funnel."""

import ast
from pathlib import Path
from typing import get_args

import qrdistill.quality.decisions
import qrdistill.quality.rules
from qrdistill.report.sections.funnel import GATES, gate_of
from qrdistill.types import PathState, Verdict


def reasons_written_down() -> set[str]:
    """The first text of every (reason, detail) pair in the source of the rules and decisions."""
    found = set()
    for module in (qrdistill.quality.rules, qrdistill.quality.decisions):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                found.add(node.elts[0].value)
            if isinstance(node, ast.Assign) and any(isinstance(name, ast.Name) and name.id == "reason" for name in node.targets):
                found |= {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    return {reason for reason in found if isinstance(reason, str) and reason.isidentifier()}


EXPECTED = {
    **dict.fromkeys((state for state in get_args(PathState) if state != "done"), "state"),
    **dict.fromkeys((verdict for verdict in get_args(Verdict) if verdict != "match"), "answer"),
    "duplicate": "duplicate",
    "leak": "other",
    **dict.fromkeys(("judge", "judge_unknown", "judge_missing", "judge_top_m"), "judge"),
}


def test_every_reason_has_its_gate() -> None:
    assert {reason: gate_of(reason) for reason in EXPECTED} == EXPECTED
    assert set(EXPECTED.values()) <= set(GATES)


def test_no_reason_of_the_filter_is_missing_here() -> None:
    written = reasons_written_down()
    assert {"leak", "duplicate", "judge_top_m", "judge_missing", "kept_last"} <= written, "the reader sees the source"
    assert written - {"kept", "kept_last", "drop", "keep"} <= set(EXPECTED), "a new reason needs its gate"
