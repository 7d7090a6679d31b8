"""The command line: every verb, every bad input with its exit code, signals, pipes, start-up time."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.clock import took_s
from harness.runs import exports, has_begun
from qrdistill.cli.bars import Lines
from qrdistill.cli.main import run_app
from qrdistill.cli.text import plain
from qrdistill.config import load_recipe
from qrdistill.store import STAGES, Run
from qrdistill.types import Attempt, PathRequest, Prediction, Question, ReasoningPath, Route, Score

VERBS = [
    "run",
    "generate",
    "filter",
    "train",
    "evaluate",
    "report",
    "regrade",
    "check",
    "show",
    "explain",
    "ls",
    "export",
    "schema",
    "doctor",
]


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Call = Callable[..., Outcome]


@pytest.fixture
def qrd(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs one command in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run_app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def spawn(*arguments: object, **settings: Any) -> subprocess.Popen[str]:
    """Starts one command in a process of its own."""
    command = [sys.executable, "-m", "qrdistill", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, smoke_recipe: Path) -> Path:
    """A run of the smoke recipe, whole."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run_app(["run", str(smoke_recipe), "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


# --- starting up -----------------------------------------------------------------------------------------------------------


def test_help_is_there_at_once() -> None:
    """Processor time, which on an idle machine is the time a user waits: a busy one must not fail this."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "qrdistill", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert all(verb in done.stdout for verb in VERBS)
    assert min(times) <= 0.6, times


def test_commands_that_need_no_model_start_without_torch(finished: Path) -> None:
    code = """
import sys
from qrdistill.cli.main import run_app
for line in sys.argv[1:]:
    assert run_app(line.split()) == 0, line
heavy = {"torch", "transformers", "peft", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""
    verbs = [f"{verb} {finished} --json" for verb in ("generate", "filter", "train", "evaluate", "report", "show", "run")]
    done = subprocess.run([sys.executable, "-c", code, *verbs], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_both_names_are_installed() -> None:
    for name in ("qrdistill", "qrd"):
        done = subprocess.run([Path(sys.executable).with_name(name), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("qrdistill 0.")


# --- every verb ------------------------------------------------------------------------------------------------------------


def test_run_ends_with_scores_a_report_and_the_next_step(finished: Path, qrd: Call) -> None:
    again = qrd("run", finished, "--json")
    assert again.code == 0, again.err
    assert again.json["did"] == []
    assert again.json["skipped"] == ["generate", "filter", "train", "evaluate", "report"]
    assert {score["student"] for score in again.json["scores"]} >= {"llama", "gemma3"}
    assert Path(again.json["report"]).is_file()
    shown = qrd("run", finished)
    assert "train: already done" in shown.out
    assert "next: open " in shown.out


def test_the_smoke_run_has_records_of_every_kind(finished: Path) -> None:
    run = Run(finished)
    config = run.config
    asked = (config.questions.num_train + config.questions.num_validation) * len(config.questions.tasks)
    assert run.ledger.count(ReasoningPath) == asked * len(config.generate.styles)
    assert run.ledger.count(Question) == asked + config.questions.num_test * len(config.questions.tasks)
    for record_type in (Route, Prediction, Score):
        assert run.ledger.count(record_type) > 0, record_type
    run.verify()
    run.close()


def test_stages_one_at_a_time_give_the_same_as_run(finished: Path, tmp_path: Path, smoke_recipe: Path, qrd: Call) -> None:
    folder = tmp_path / "steps"
    first = qrd("generate", smoke_recipe, "-o", folder, "--json")
    assert first.code == 0, first.err
    assert first.json["next"] == f"qrdistill filter {folder}"
    for verb in ("filter", "train", "evaluate", "report"):
        done = qrd(verb, folder, "--json")
        assert done.code == 0, done.err
        assert done.json["did"] == [verb]
    assert exports(folder) == exports(finished)


def test_run_until_a_stage_and_on(tmp_path: Path, smoke_recipe: Path, qrd: Call) -> None:
    folder = tmp_path / "run"
    half = qrd("run", smoke_recipe, "-o", folder, "--until", "filter", "--json")
    assert half.code == 0, half.err
    assert half.json["did"] == ["generate", "filter"]
    assert half.json["next"] == f"qrdistill train {folder}"
    partial = qrd("report", folder, "--json")
    assert partial.code == 0, partial.err
    assert partial.json["next"] == f"qrdistill train {folder}"


def test_show_explain_regrade_and_export(copy: Path, qrd: Call) -> None:
    shown = qrd("show", copy, "--json")
    assert shown.code == 0
    assert all(stage["is_done"] for stage in shown.json["stages"])
    assert qrd("show", copy).code == 0
    run = Run(copy)
    question = run.ledger.all(Question, "split = 'train'")[0]
    run.close()
    story = qrd("explain", copy, question.id, "--json")
    assert story.code == 0, story.err
    assert story.json["question"]["text"] == question.text
    assert len(story.json["paths"]) == 6
    assert question.text[:20] in qrd("explain", copy, question.id).out
    regraded = qrd("regrade", copy, "--json")
    assert regraded.code == 0, regraded.err
    assert regraded.json["flips"] == []
    assert regraded.json["scores"]
    assert regraded.json["next"] == f"qrdistill report {copy}"
    again = qrd("regrade", copy, "--paths", "--json")
    assert (again.code, again.json["path_flips"]) == (0, []), again.err
    assert again.json["next"] == f"qrdistill report {copy}", "the same grader keeps the same paths"
    exported = qrd("export", copy, "--json")
    assert exported.code == 0, exported.err
    rows = [json.loads(line) for line in Path(exported.json["path"]).read_text().splitlines()]
    assert len(rows) == exported.json["num_rows"] > 0
    assert [message["role"] for message in rows[0]["messages"]] == ["user", "assistant"]


def test_answers_are_held_against_another_grader(copy: Path, qrd: Call) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra: eval)")
    checked = qrd("regrade", copy, "--cross-check", "--json")
    assert checked.code == 0, checked.err
    run = Run(copy)
    number = run.ledger.count(Prediction)
    run.close()
    found = {one["filter"]: one for one in checked.json["cross_check"]}
    for name in ("strict-match", "flexible-extract"):
        one = found[f"gsm8k_cot_zeroshot/{name}"]
        assert one["n"] == number > 0
        assert one["num_agree"] + len(one["disagreements"]) == number
    shown = qrd("regrade", copy, "--cross-check").out
    assert "gsm8k_cot_zeroshot/strict-match" in shown
    assert "answers of the students: 0 verdicts changed" in shown


@pytest.mark.parametrize("what", ["runs", "recipes", "tasks", "styles", "policies"])
def test_ls(what: str, root: Path, finished: Path, qrd: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(root / "recipes")
    (tmp_path / "runs").symlink_to(finished.parent)
    listed = qrd("ls", what, "--json")
    assert listed.code == 0, listed.err
    assert listed.json["items"]
    assert qrd("ls", what).code == 0
    names = json.dumps(listed.json["items"])
    expected = {"runs": "runs/run", "recipes": "quickstart", "tasks": "leg_counting", "styles": "backward", "policies": "random"}
    assert expected[what] in names


def test_check_prints_the_plan_and_writes_nothing(
    tmp_path: Path, smoke_recipe: Path, root: Path, qrd: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planned = qrd("check", smoke_recipe, "--json")
    assert planned.code == 0, planned.out
    assert planned.json["num_paths"] == 96
    assert planned.json["problems"] == []
    real = qrd("check", root / "recipes" / "quickstart.yaml", "--json")
    assert [student["num_weights"] for student in real.json["students"]] == [134_515_008, 268_098_176]
    assert real.json["memory_bytes"] > 1.6e9
    assert qrd("check", smoke_recipe).code == 0
    assert list(tmp_path.iterdir()) == []


def test_check_names_everything_that_is_missing(root: Path, qrd: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = qrd("check", root / "recipes" / "own_data.yaml", "--json")
    assert found.code == 65
    assert "questions.tasks.0.path: there is no file data/questions.jsonl" in found.json["problems"][0]
    assert "generate.teachers.0.path: there is no file data/paths.jsonl" in found.json["problems"][1]


def test_check_verifies_a_run(copy: Path, qrd: Call) -> None:
    assert qrd("check", copy).code == 0
    export = next((copy / "exports").glob("*.jsonl"))
    export.write_bytes(export.read_bytes()[:-1])
    broken = qrd("check", copy)
    assert broken.code == 65
    assert f"{export.name} is damaged" in broken.err


def test_the_schema_knows_every_setting(tmp_path: Path, qrd: Call) -> None:
    place = tmp_path / "recipe.schema.json"
    assert qrd("schema", "-o", place, "--json").json["path"] == str(place)
    schema = json.loads(place.read_text())
    assert {"questions", "generate", "filter", "students", "method", "training"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_doctor_examines_and_leaves_nothing(tmp_path: Path, qrd: Call) -> None:
    found = qrd("doctor", "-o", tmp_path, "--json")
    assert found.code == 0
    findings = {finding["what"]: finding["is_ok"] for finding in found.json["findings"]}
    assert findings["fsync and flock"]
    assert findings["torch"]
    assert list(tmp_path.iterdir()) == []


def test_show_writes_every_default_of_a_recipe(smoke_recipe: Path, qrd: Call, tmp_path: Path) -> None:
    shown = qrd("show", smoke_recipe, "--set", "training.epochs=4")
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown.out.rpartition("next: ")[0])
    assert load_recipe(copy) == load_recipe(smoke_recipe, overrides=["training.epochs=4"])


# --- again, changed, interrupted -----------------------------------------------------------------------------------------


def test_a_changed_config_is_refused_and_an_update_runs_what_depends_on_it(copy: Path, smoke_recipe: Path, qrd: Call) -> None:
    before = exports(copy)
    change = ["--set", "evaluation.max_new_tokens=8"]
    refused = qrd("run", smoke_recipe, "-o", copy, *change)
    assert refused.code == 78
    assert "evaluation.max_new_tokens: 24 -> 8" in refused.err
    assert "--update" in refused.err
    assert exports(copy) == before
    updated = qrd("run", smoke_recipe, "-o", copy, *change, "--update", "--json")
    assert updated.code == 0, updated.err
    assert updated.json["did"] == ["evaluate", "report"]
    assert updated.json["skipped"] == ["generate", "filter", "train"]
    larger = qrd("run", smoke_recipe, "-o", copy, *change, "--set", "questions.num_test=6", "--update", "--json")
    assert larger.json["did"] == ["generate", "filter", "evaluate", "report"], "more test questions do not retrain"
    assert qrd("filter", copy, "--set", "filter.judge={kind: none}").code == 78
    assert qrd("filter", copy, "--seed", 5).code == 78


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_cleanly_and_the_same_command_resumes(
    finished: Path, tmp_path: Path, smoke_recipe: Path, qrd: Call, number: int, code: int
) -> None:
    folder = tmp_path / "run"
    process = spawn("run", smoke_recipe, "-o", folder)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(("generate", "asking", "filter")) or ":" in line:
            break
    started_s = time.monotonic()
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == code, complaint
    assert took_s(started_s) < 10
    assert "same command resumes" in complaint
    assert "Traceback" not in complaint
    resumed = qrd("run", smoke_recipe, "-o", folder)
    assert resumed.code == 0, resumed.err
    assert exports(folder) == exports(finished)


@pytest.mark.parametrize("delay_s", [0.0, 0.15])
@pytest.mark.parametrize("stage", STAGES)
def test_kill_9_in_each_stage_then_the_same_command_gives_the_same(
    finished: Path, tmp_path: Path, smoke_recipe: Path, qrd: Call, stage: str, delay_s: float
) -> None:
    folder = tmp_path / "run"
    with spawn("run", smoke_recipe, "-o", folder) as process:
        while process.poll() is None and not has_begun(folder, stage):
            time.sleep(0.005)
        time.sleep(delay_s)
        process.kill()
        process.communicate()
    resumed = qrd("run", smoke_recipe, "-o", folder)
    assert resumed.code == 0, resumed.err
    assert exports(folder) == exports(finished)
    run = Run(folder)
    assert run.ledger.count(Attempt) == run.ledger.count(PathRequest) == 96, "nothing was asked for twice"
    run.verify()
    run.close()


def test_a_reader_that_goes_away_is_no_error(smoke_recipe: Path) -> None:
    with spawn("show", smoke_recipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141


def test_a_run_folder_in_use(copy: Path, qrd: Call) -> None:
    with Run(copy).owned():
        started_s = time.monotonic()
        refused = qrd("run", copy)
        assert took_s(started_s) < 2
    assert refused.code == 73
    assert f"in use by process {os.getpid()}" in refused.err


# --- bad input -------------------------------------------------------------------------------------------------------------

QUESTION = {"id": "q", "question": "2 + 2?", "answer": "4", "kind": "number"}


@pytest.fixture
def own_data(tmp_path: Path, root: Path) -> Callable[..., list[str]]:
    """Arguments that run the own-data recipe on given rows, with tiny students."""

    def write(rows: list[str], paths: list[str]) -> list[str]:
        (tmp_path / "questions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (tmp_path / "paths.jsonl").write_text("\n".join(paths) + "\n", encoding="utf-8")
        settings = {
            "questions.tasks.0.path": tmp_path / "questions.jsonl",
            "generate.teachers.0.path": tmp_path / "paths.jsonl",
            "questions.num_train": 4,
            "questions.num_validation": 1,
            "questions.num_test": 2,
            "students": "[{name: a, source: {kind: tiny}, adapter: {kind: full}}]",
            "method.policy": "{kind: all}",
        }
        changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return ["run", str(root / "recipes" / "own_data.yaml"), "-o", str(tmp_path / "run"), *changes]

    return write


def questions(number: int = 40) -> list[str]:
    """Good rows."""
    return [json.dumps({**QUESTION, "id": f"q{n}", "question": f"{n} + {n}?", "answer": str(2 * n)}) for n in range(number)]


def answers(number: int = 40, *, off_by: int = 0) -> list[str]:
    """One recorded path a question and style."""
    return [
        json.dumps({"id": f"q{n}", "style": style, "response": f"{n} + {n} = {2 * n}. The answer is {2 * n + off_by}."})
        for n in range(number)
        for style in ("vanilla", "cot", "tot", "program", "backward", "fact")
    ]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("questions.num_trian=4", 2, "did you mean 'num_train'?"),
        ("questions.tasks.0.name=leg_countin", 2, "did you mean 'leg_counting'?"),
        ("questions.tasks.0.difficulty={max_animal: 3}", 2, "did you mean 'max_animals'?"),
        ("generate.styles=[cot, fakt]", 2, "unknown style 'fakt' (did you mean 'fact'?)"),
        ("method.policy.kind=qrdistil", 2, "did you mean 'qrdistill'?"),
        ("method.policy={kind: single_path, style: co}", 2, "did you mean 'cot'?"),
        ("questions.num_validation=0", 2, "num_validation is 0"),
        ("students.0.source={kind: folder, path: /no/such/model}", 65, "there is no folder /no/such/model"),
        ("generate.teachers.0={kind: replay, path: /no/such/file}", 65, "there is no file /no/such/file"),
        ("questions.tasks.0={kind: jsonl, name: mine, path: /no/such/file}", 65, "there is no file /no/such/file"),
    ],
)
def test_a_bad_recipe_is_refused_before_anything_is_written(
    tmp_path: Path, smoke_recipe: Path, qrd: Call, change: str, code: int, message: str
) -> None:
    refused = qrd("run", smoke_recipe, "-o", tmp_path / "run", "--set", change)
    assert refused.code == code, refused.err
    assert message in refused.err
    assert refused.err.count("\n") == 1, "one sentence"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("rum",), 2, "No such command 'rum'"),
        (("run",), 2, "Missing argument"),
        (("run", "none.yaml"), 2, "there is no recipe none.yaml"),
        (("run", "x.yaml", "--seed", "many"), 2, "--seed"),
        (("run", "x.yaml", "--until", "lunch"), 2, "lunch"),
        (("run", "x.yaml", "--frobnicate"), 2, "--frobnicate"),
        (("train", "x.yaml"), 2, "train takes a run folder, not a recipe"),
        (("show", "/no/such/run"), 2, "holds no run"),
        (("explain", "/no/such/run", "q"), 2, "holds no run"),
        (("check", "/no/such/run"), 2, "holds no run"),
        (("ls", "lunches"), 2, "lunches"),
    ],
)
def test_bad_usage(qrd: Call, arguments: tuple[str, ...], code: int, message: str) -> None:
    refused = qrd(*arguments)
    assert refused.code == code
    assert message in refused.err
    assert refused.out == ""
    with_json = qrd(*arguments, "--json")
    assert with_json.json["exit_code"] == code
    assert message in with_json.json["error"]


def test_no_verb_at_all_shows_the_help(qrd: Call) -> None:
    shown = qrd()
    assert shown.code == 2
    assert "generate" in shown.out + shown.err


def test_an_unknown_question_names_close_ones(finished: Path, qrd: Call) -> None:
    refused = qrd("explain", finished, "nothing-like-it")
    assert refused.code == 2
    assert "no question 'nothing-like-it'" in refused.err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "x", "question": ', "3"),
        ('["a", "list"]', "3"),
        ('{"id": "x", "question": "2?"}', "answer"),
        ('{"id": "q0", "question": "again?", "answer": "2", "kind": "number"}', "q0"),
    ],
)
def test_a_malformed_row_is_named(own_data: Callable[..., list[str]], qrd: Call, tmp_path: Path, row: str, message: str) -> None:
    rows = questions()
    rows.insert(2, row)
    refused = qrd(*own_data(rows, answers()))
    assert refused.code == 65, refused.err
    assert "questions.jsonl" in refused.err
    assert "line 3" in refused.err
    assert message in refused.err
    assert not (tmp_path / "run").exists()


def test_too_few_questions(own_data: Callable[..., list[str]], qrd: Call) -> None:
    refused = qrd(*own_data(questions(3), answers(3)))
    assert refused.code == 65, refused.err
    assert "questions.jsonl" in refused.err


def test_own_data_runs_to_the_end(own_data: Callable[..., list[str]], qrd: Call) -> None:
    done = qrd(*own_data(questions(), answers()), "--json")
    assert done.code == 0, done.err
    assert done.json["did"] == ["generate", "filter", "train", "evaluate", "report"]


def test_no_surviving_path_at_all(own_data: Callable[..., list[str]], qrd: Call, tmp_path: Path) -> None:
    refused = qrd(*own_data(questions(), answers(off_by=1)))
    assert refused.code == 65, refused.err
    assert "no " in refused.err
    assert "Traceback" not in refused.err
    run = Run(tmp_path / "run")
    assert run.ledger.count(ReasoningPath) > 0, "nothing that was generated is lost"
    run.close()


def test_a_question_without_a_surviving_path_is_counted_and_the_rest_goes_on(
    own_data: Callable[..., list[str]], qrd: Call, tmp_path: Path
) -> None:
    first = qrd(*own_data(questions(), answers()), "--until", "generate")
    assert first.code == 0, first.err
    run = Run(tmp_path / "run")
    victim = run.ledger.all(Question, "split = 'train'")[0]
    run.close()
    spoiled = [row if json.loads(row)["id"] != victim.id else row.replace("answer is ", "answer is 9") for row in answers()]
    done = qrd(*own_data(questions(), spoiled), "--until", "filter", "--json")
    assert done.code == 0, done.err
    story = qrd("explain", tmp_path / "run", victim.id, "--json")
    assert len(story.json["paths"]) == 6


# --- disks, bugs, terminals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [30_000, 60_000, 120_000])
def test_a_full_disk_ends_with_74_and_the_same_command_resumes(
    finished: Path, tmp_path: Path, smoke_recipe: Path, qrd: Call, limit: int
) -> None:
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from qrdistill.cli.main import run_app
sys.exit(run_app(sys.argv[1:]))
"""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", code, "run", str(smoke_recipe), "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 74, done.stderr
    assert "Traceback" not in done.stderr
    resumed = qrd("run", smoke_recipe, "-o", folder)
    assert resumed.code == 0, resumed.err
    assert exports(folder) == exports(finished)


def test_an_unknown_bug_ends_with_70_and_its_traceback_in_the_run_folder(
    copy: Path, qrd: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the planted bug")

    monkeypatch.setattr("qrdistill.report.explain", broken)
    crashed = qrd("explain", copy, "q")
    assert crashed.code == 70
    assert "ZeroDivisionError: the planted bug" in crashed.err
    assert str(copy / "crash.txt") in crashed.err
    assert "the planted bug" in (copy / "crash.txt").read_text()
    assert "Traceback" not in crashed.err
    monkeypatch.setenv("QRDISTILL_DEBUG", "1")
    assert "Traceback" in qrd("explain", copy, "q").err
    assert qrd("explain", copy, "q", "--json").json["exit_code"] == 70


def test_text_cannot_steer_the_terminal() -> None:
    hostile = "".join(map(chr, [*range(32), *range(127, 160), 0x2028, 0x202E, 0x2066])) + "\ud800"
    shown = plain("ok " + hostile)
    assert shown.startswith("ok ")
    shown.encode("utf-8")
    assert all(character in "\n\t" or character.isprintable() for character in shown)


def test_plain_lines_come_about_every_ten_seconds_and_say_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = Lines(sys.stdout, clock=lambda: now[0])
    lines.start(100, "train")
    for _ in range(100):
        now[0] += 1
        lines.advance()
    lines.stop()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "train: 0/100"
    assert printed[1] == "train: 10/100, 1 min 30 s left"
    assert printed[-1] == "train: 100/100 in 1 min 40 s"
    assert len(printed) == 11
