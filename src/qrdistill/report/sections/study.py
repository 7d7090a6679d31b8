"""A study's arms in one table, what each piece is worth, single tasks, sample efficiency; several studies side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrdistill.report.blocks import Block, Figures, Heading, Prose, Section, Tables
from qrdistill.report.figures import Range
from qrdistill.report.sections.study_details import questions_section, team_section
from qrdistill.report.study_figures import Curve, difference_chart, share_chart, tokens
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, points, table

Study = Mapping[str, Any]
"""What study.json holds (see `qrdistill.study.results`)."""
ABLATIONS = ("no_filter", "no_judge", "no_router", "no_peers", "frozen_peers", "solo")
CONTROLS = ("equal_compute", "random", "all")
"""Arms that train plainly; the first on as much compute as the method's, the others on as many label tokens."""
LARGEST_P = 0.05


def first_arm(study: Study) -> str:
    """The arm the others are compared with."""
    return "qrdistill" if "qrdistill" in study["arms"] else str(study["variants"][0])


def headline(study: Study) -> str:
    """The study in one sentence: what the first arm is better than, worse than, and not told apart from."""
    first = first_arm(study)
    pairs = {name: pair for name in study["variants"] if (pair := study["paired"].get(f"{first}-{name}"))}
    better = [name for name, pair in pairs.items() if pair["low"] > 0]
    worse = [name for name, pair in pairs.items() if pair["high"] < 0]
    level = [name for name in pairs if name not in better + worse]
    said = [
        f"{verb} {', '.join(names)}"
        for verb, names in (("beats", better), ("is below", worse), ("cannot be told apart from", level))
        if names
    ]
    arm = study["arms"][first]
    return (
        f"{first} answers {percent(arm['mean'])} right ({interval(arm['low'], arm['high'])}); it {'; '.join(said) or 'is alone'}."
    )


def study_sections(studies: Sequence[Study], names: Sequence[str]) -> list[Section]:
    """Every section of a study report; all but the first are about the first study."""
    study = studies[0]
    sections = [_side_by_side(studies, names)] if len(studies) > 1 else []
    sections.append(_arms_section(study))
    if study.get("efficiency"):
        sections.append(_efficiency_section(study))
    sections.append(_tasks_section(study))
    if any("team" in arm for arm in study["arms"].values()):
        sections.append(team_section(study))
    if len(study["variants"]) > 1 and study.get("questions"):
        sections.append(questions_section(study, first_arm(study)))
    return sections


def _arms_section(study: Study) -> Section:
    about = (
        f"Every trained arm trained each student on {count(study['max_label_tokens'])} label tokens, over "
        f"{len(study['seeds'])} seeds. Intervals are bootstrap intervals over seeds and questions; differences are paired."
    )
    more = {name: n for name, n in study.get("budgets", {}).items() if n != study["max_label_tokens"]}
    if more:
        about += f" Not so {', '.join(f'{name} ({count(n)} label tokens)' for name, n in more.items())}: as much compute instead."
    blocks: list[Block | Heading] = [Prose(about), _controls(study), Tables((_arms_table(study),)), *_pieces(study)]
    if study.get("missing"):
        blocks.insert(0, Prose(f"Not done yet: {', '.join(study['missing'])}.", "warning"))
    if "reproduced" in study:
        outside = [name for name, is_within in study["reproduced"].items() if not is_within]
        text = (
            f"Not reproduced: {', '.join(outside)}."
            if outside
            else "The earlier study is reproduced: every arm is within its tolerance."
        )
        blocks.append(Prose(text, "warning" if outside else ""))
    return Section("arms", "Arms", tuple(blocks))


def _controls(study: Study) -> Prose:
    """Which arms train plainly on as much, or that there is none."""
    found = [name for name in CONTROLS if name in study["arms"]]
    if found:
        return Prose(f"Arms that train plainly on as much: {', '.join(found)} (equal_compute counts what peers and probes cost).")
    return Prose(
        "No arm is a control: without equal_compute, random or all nothing says what choosing paths is worth.", "warning"
    )


def _arms_table(study: Study) -> Table:
    first, students = first_arm(study), study["students"]
    body: list[list[Cell | str]] = []
    for name in study["variants"]:
        arm = study["arms"][name]
        pair = study["paired"].get(f"{first}-{name}")
        body.append(
            [
                name,
                *(percent(arm["students"][student]["mean"]) if student in arm["students"] else NONE for student in students),
                percent(arm["mean"]),
                interval(arm["low"], arm["high"]),
                _difference(pair) if pair else NONE,
                f"{pair['effect_h']:+.2f}".replace("-", "−") if pair else NONE,
                count(arm["n"]),
                tokens(arm["train_tokens"]),
                percent(arm["unparsed_frac"]),
                percent(arm["truncated_frac"]),
                count(round(arm["seconds"])),
            ]
        )
    heads = ["Arm", *students, "Mean", "95% interval, %", f"{first} minus it, points", "Effect h", "n", "Label tokens"]
    return table(
        "Accuracy of each arm",
        [*heads, "Unparsed", "Truncated", "Seconds"],
        body,
        note="Effect h: 0.2 is small, 0.5 medium, 0.8 large (Cohen). A difference whose interval holds 0 tells nothing apart.",
    )


def _difference(pair: Mapping[str, Any]) -> Cell:
    text = f"{points(pair['diff'])} ({points(pair['low'])} to {points(pair['high'])})"
    return Cell(text, tone="good" if pair["low"] > 0 else "warning" if pair["high"] < 0 else "")


def _pieces(study: Study) -> list[Block]:
    """What the first arm loses without each of its pieces, and gains over each baseline."""
    first = first_arm(study)
    rows = {name: pair for name in study["variants"] if (pair := study["paired"].get(f"{first}-{name}"))}
    groups = [
        ("What each piece is worth", {name: pair for name, pair in rows.items() if name in ABLATIONS}),
        ("Against baselines", {name: pair for name, pair in rows.items() if name not in ABLATIONS and "fraction_" not in name}),
    ]
    figures = [
        difference_chart(
            f"{title}: {first} minus the arm",
            [(name, Range(pair["diff"], pair["low"], pair["high"])) for name, pair in group.items()],
            what="Arm",
        )
        for title, group in groups
        if group
    ]
    return [Figures(tuple(figures))] if figures else []


def _efficiency_section(study: Study) -> Section:
    figures, sentences = [], []
    for label, found in sorted(study["efficiency"].items(), key=lambda item: item[0] != "mean"):
        curves = [
            Curve(
                base,
                tuple(share for share, _ in drawn),
                tuple(_range(_cell(study, arm, label)) for _, arm in drawn),
            )
            for base, drawn in found["curves"].items()
        ]
        who = "mean of the students" if label == "mean" else label
        figures.append(share_chart(f"Sample efficiency, {who}", curves, target=found["target"], target_name="all"))
        sentences.append(f"{who}: {_reached(found)}")
    text = f"The share of the questions at which qrdistill is as accurate as plain SFT on all of them. {'; '.join(sentences)}."
    return Section("efficiency", "Sample efficiency", (Prose(text), Figures(tuple(figures))))


def _reached(found: Mapping[str, Any]) -> str:
    if found["share"] is None:
        return f"not reached ({percent(found['reached_frac'], 0)} of the bootstrap samples reach it)"
    low = percent(found["low"], 0) if found["low"] is not None else "more than 100%"
    if found["share"] == min(share for share, _ in found["curves"]["qrdistill"]):
        return f"at most {percent(found['share'], 0)}, the smallest share that was tried"
    high = percent(found["high"], 0) if found["high"] is not None else "more than 100%"
    return f"{percent(found['share'], 0)} (95% interval {low} to {high})"


def _cell(study: Study, arm: str, label: str) -> Mapping[str, Any]:
    whole: Mapping[str, Any] = study["arms"][arm]
    return whole if label == "mean" else whole["students"][label]


def _range(cell: Mapping[str, Any]) -> Range:
    return Range(cell["mean"], cell["low"], cell["high"])


def _tasks_section(study: Study) -> Section:
    first = first_arm(study)
    tasks = list(study["arms"][first]["tasks"])
    accuracy = [
        [name, student, *(percent(cell["tasks"][task]["mean"]) for task in tasks)]
        for name in study["variants"]
        for student, cell in study["arms"][name]["students"].items()
    ]
    differences: list[list[Cell | str]] = [
        [name, task, _difference(cell), f"{cell['p_value']:.4f}", f"{cell['p_holm']:.4f}"]
        for name in study["variants"]
        if (pair := study["paired"].get(f"{first}-{name}"))
        for task, cell in pair["tasks"].items()
    ]
    tables = [table("Accuracy by student and task", ["Arm", "Student", *tasks], accuracy, num_headers=2)]
    if differences:
        tables.append(
            table(
                f"{first} minus each arm, by task, points",
                ["Arm", "Task", "Difference", "p", "p, Holm"],
                differences,
                num_headers=2,
                note=f"p adjusted over the tasks of a pair (Holm); below {LARGEST_P} a difference holds for that task.",
            )
        )
    return Section("tasks", "Students and tasks", tuple(Tables((one,)) for one in tables))


def _side_by_side(studies: Sequence[Study], names: Sequence[str]) -> Section:
    arms = list(dict.fromkeys(name for study in studies for name in study["variants"]))
    body: list[list[Cell | str]] = []
    for arm in arms:
        cells: list[Cell | str] = [arm]
        for study in studies:
            found = study["arms"].get(arm)
            cells.append(f"{percent(found['mean'])} ({interval(found['low'], found['high'])})" if found else NONE)
        body.append(cells)
    tokens_row: list[Cell | str] = ["label tokens", *(count(study["max_label_tokens"]) for study in studies)]
    shown = table("Mean accuracy of each arm in each study, with 95% intervals", ["Arm", *names], [*body, tokens_row])
    return Section("studies", "Studies side by side", (Tables((shown,)), Prose(f"The sections below are about {names[0]}.")))
