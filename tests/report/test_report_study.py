"""The study's report: its numbers are those of study.json, hostile names are inert, several studies stand side by side."""

import json
import re

import pytest

from qrdistill.cli.main import run_app
from qrdistill.errors import DataError
from qrdistill.report.sections.study import headline, study_sections
from qrdistill.report.study import write_study_report

TASKS = ("sum", "legs")


def cell(mean: float, **more: object) -> dict:
    base = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 40, "seeds": 2, "train_tokens": 1234}
    return base | {"unparsed_frac": 0.01, "truncated_frac": 0.02} | more


def pair(diff: float, half: float = 0.03, **more: object) -> dict:
    numbers = {"diff": diff, "low": diff - half, "high": diff + half, "p_value": 0.01, "n": 40, "effect_h": 2 * diff}
    return numbers | more


def study(name: str = "toy", **means: float) -> dict:
    means = means or {"qrdistill": 0.5, "all": 0.4, "no_peers": 0.49, "paper": 0.61, "fraction_20": 0.3}
    arms = {
        arm: cell(mean, seconds=12.0)
        | {"students": {s: cell(mean) | {"tasks": {t: cell(mean) for t in TASKS}} for s in ("a", "b")}}
        | {"tasks": {t: cell(mean) for t in TASKS}}
        for arm, mean in means.items()
    }
    paired = {
        f"qrdistill-{arm}": pair(means["qrdistill"] - mean, tasks={t: pair(0.1, p_holm=0.02) for t in TASKS}, students={})
        for arm, mean in means.items()
        if arm != "qrdistill"
    }
    efficiency = {
        "mean": {
            "share": 0.6,
            "low": 0.4,
            "high": None,
            "reached_frac": 0.9,
            "target": means.get("all", 0.0),
            "curves": {"qrdistill": [[0.2, "fraction_20"], [1.0, "qrdistill"]]},
        }
    }
    found = {"name": name, "variants": list(means), "seeds": [0, 1], "students": ["a", "b"], "max_label_tokens": 1200}
    return found | {"arms": arms, "paired": paired, "efficiency": efficiency}


def rows(section, caption: str) -> list[list[str]]:
    tables = [t for block in section.blocks if hasattr(block, "tables") for t in block.tables if t.caption.startswith(caption)]
    return [[c.text for c in row] for row in tables[0].rows]


def test_the_headline_says_better_worse_and_not_told_apart():
    said = headline(study())
    assert "qrdistill answers 50.0% right (45.0 to 55.0)" in said
    assert "beats all, fraction_20" in said
    assert "is below paper" in said
    assert "cannot be told apart from no_peers" in said


def test_the_controls_are_named_or_missed():
    shown = [
        study(),
        study(qrdistill=0.5, all=0.4, equal_compute=0.4, fraction_20=0.3),
        study(qrdistill=0.5, no_peers=0.4, fraction_20=0.3),
    ]
    said = [
        [(block.text, block.tone) for block in study_sections([one], ["toy"])[0].blocks if hasattr(block, "tone")]
        for one in shown
    ]
    assert any(text.startswith("Arms that train plainly on as much: all (") for text, _ in said[0])
    assert any(text.startswith("Arms that train plainly on as much: equal_compute, all (") for text, _ in said[1])
    assert [tone for text, tone in said[2] if text.startswith("No arm is a control")] == ["warning"]


def test_the_table_holds_every_arm_in_order_with_its_numbers():
    found = study()
    arms, efficiency, tasks = study_sections([found], ["toy"])
    shown = rows(arms, "Accuracy of each arm")
    assert [row[0] for row in shown] == found["variants"]
    for row in shown:
        mean = found["arms"][row[0]]["mean"]
        assert row[1:5] == [f"{mean:.1%}"] * 3 + [f"{100 * mean - 5:.1f} to {100 * mean + 5:.1f}"]
        assert row[-5:] == ["40", "1,234", "1.0%", "2.0%", "12"]
    assert [row[5] for row in shown][:2] == ["–", "+10.0 (+7.0 to +13.0)"]
    figures = [figure for block in arms.blocks if hasattr(block, "figures") for figure in block.figures]
    assert [[r[0].text for r in figure.table.rows] for figure in figures] == [["no_peers"], ["all", "paper"]]
    assert "60% (95% interval 40% to more than 100%)" in efficiency.blocks[0].text
    assert len(rows(tasks, "Accuracy by student and task")) == 5 * 2
    assert [r[:2] for r in rows(tasks, "qrdistill minus each arm")][:2] == [["all", "sum"], ["all", "legs"]]


def test_drawings_stay_inside_and_zero_is_marked():
    figures = [f for s in study_sections([study()], ["toy"]) for b in s.blocks if hasattr(b, "figures") for f in b.figures]
    for figure in figures:
        numbers = [float(x) for x in re.findall(r' (?:x1|x2|cx)="(-?[\d.]+)"', figure.svg)]
        assert min(numbers) >= 0
        assert max(numbers) <= 380
        assert 'class="axis"' in figure.svg
        assert "nan" not in figure.svg


@pytest.fixture
def folders(tmp_path):
    places = []
    for number, name in enumerate(("toy", "<script>alert(1)</script>\x1b[31m")):
        place = tmp_path / f"study{number}"
        place.mkdir()
        (place / "study.json").write_text(json.dumps(study(name) if number else study()))
        places.append(place)
    return places


def test_studies_stand_side_by_side_and_hostile_names_are_inert(folders):
    page = write_study_report(folders).read_text()
    assert "Studies side by side" in page
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "⟨U+001B⟩" in page
    again = write_study_report(folders).read_text()
    assert page == again
    text = (folders[0] / "report.md").read_text()
    assert "Mean accuracy of each arm in each study" in text
    assert not re.search(r"^## [^\n]*\n\n## ", text, re.MULTILINE)  # no empty section


def test_the_verb_report_takes_a_study_and_names_what_is_none(folders, capsys):
    assert run_app(["report", str(folders[0])]) == 0
    assert (folders[0] / "report.html").is_file()
    (folders[1] / "study.json").write_text('{"arms": {}}')
    with pytest.raises(DataError, match="is not a study"):
        write_study_report(folders)
    (folders[1] / "study.json").write_text("{")
    assert run_app(["report", str(folders[1])]) == 65
    assert "cannot be read" in capsys.readouterr().err


def test_teams_single_questions_and_what_is_missing_are_shown():
    found = study()
    for arm in found["arms"].values():
        arm["team"] = {"oracle": 0.7, "low": 0.6, "high": 0.8, "agreement": 0.5, "error_overlap": 0.25}
    found["arms"]["all"]["team"]["error_overlap"] = None
    shares = {"q1": (1.0, 0.0), "q2": (0.5, 0.5), "q3": (0.0, 0.25), "q4": (0.75, 0.25)}
    found["questions"] = {q: {"task": "sum", "arms": {"qrdistill": a, "all": b}} for q, (a, b) in shares.items()}
    found["missing"] = ["paper, seed 1"]
    found["budgets"] = {"qrdistill": 1200, "all": 1800}
    sections = {section.heading: section for section in study_sections([found], ["toy"])}
    team = rows(sections["Students as a team"], "The students of each arm together")
    assert team[0] == ["qrdistill", "a 50.0%", "70.0%", "60.0 to 80.0", "50.0%", "25.0%"]
    assert team[1][-1] == "–"
    differing = rows(sections["Question by question"], "qrdistill and all: the questions they differ most on")
    assert [row[0] for row in differing] == ["q1", "q4", "q3"]  # the best first, the worst last, the equal one not at all
    assert differing[0][2:] == ["100%", "0%", "+100.0"]
    said = [block.text for block in sections["Arms"].blocks if hasattr(block, "text")]
    assert said[0] == "Not done yet: paper, seed 1."
    assert "Not so all (1,800 label tokens): as much compute instead." in said[1]


def test_a_study_of_an_earlier_version_without_these_is_shown_as_before():
    assert [section.heading for section in study_sections([study()], ["toy"])] == [
        "Arms",
        "Sample efficiency",
        "Students and tasks",
    ]
