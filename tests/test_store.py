"""The run folder: nothing acknowledged is lost, one writer, every byte that changed is noticed."""

import dataclasses
import errno
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clock import took_s
from qrdistill.config import Config, validate
from qrdistill.errors import CorruptRunError, DataError, RunInUseError, StorageError, UnsafeConfigError, UsageError
from qrdistill.store import Ledger, Run, export_records, sha256, write_json, write_text
from qrdistill.types import FilterDecision, Question, ReasoningPath, Route

ANY_TEXT = st.text(st.characters(), max_size=60)
"""Every code point, lone surrogates and NUL included."""


def route(step: int, **changes: object) -> Route:
    """A small record with a key of its own."""
    record = Route(step=step, epoch=0, path_id=f"p{step}", student="a", prob=0.25, is_routed=True, utility=0.5)
    return dataclasses.replace(record, **changes)


def path(number: int, text: str = "so 2 + 2 = 4") -> ReasoningPath:
    """A small path."""
    return ReasoningPath(id=f"path{number:04d}", question_id=f"q{number % 7}", teacher="t", style="cot", sample=0, text=text)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs `code`."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


# --- records come back as they went in -----------------------------------------------------------------------------------


@given(text=ANY_TEXT, number=st.integers(-(2**63), 2**63 - 1), real=st.floats(), flag=st.booleans())
def test_every_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: int, real: float, flag: bool
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    question = Question(
        id=text,
        task="t",
        split="train",
        text=text,
        kind="choice",
        gold=text,
        choices=((text, text),),
        metadata={"a": [number, text]},
    )
    sent = route(number, prob=real, is_routed=flag, student=text)
    ledger.add([question, sent])
    (read,) = ledger.all(Route)
    assert ledger.all(Question) == [question]
    assert dataclasses.replace(read, prob=0) == dataclasses.replace(sent, prob=0)
    assert read.prob == real or (math.isnan(read.prob) and math.isnan(real))
    ledger.verify()
    ledger.close()


def test_add_replaces_by_key_and_all_is_in_key_order(ledger: Ledger) -> None:
    assert ledger.add([route(2), route(1), path(1)]) == 3
    ledger.add([route(2, prob=0.75)])
    assert [(record.step, record.prob) for record in ledger.all(Route)] == [(1, 0.25), (2, 0.75)]
    assert ledger.count(Route) == 2
    assert ledger.all(Route, "prob > ?", [0.5]) == [route(2, prob=0.75)]
    ledger.delete(Route, "step = ?", [1])
    assert [record.step for record in ledger.iterate(Route)] == [2]


def test_notes(ledger: Ledger) -> None:
    ledger.note("a", {"x": [1, 2]})
    ledger.note("a", {"x": [3]})
    assert ledger.noted("a") == {"x": [3]}
    ledger.forget("a")
    assert ledger.noted("a", "gone") == "gone"


def test_a_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    class Stop(Exception):
        pass

    def broken() -> Iterator[Route]:
        yield route(2)
        raise Stop

    def nested() -> None:
        with ledger.transaction():
            ledger.add([route(3)])
            ledger.add(broken())

    ledger.add([route(1)])
    with pytest.raises(Stop):
        ledger.add(broken())
    with pytest.raises(Stop):
        nested()
    assert [record.step for record in ledger.all(Route)] == [1]


def test_threads_take_turns(ledger: Ledger) -> None:
    def work(first: int) -> None:
        for step in range(first, first + 50):
            ledger.add([route(step)])
            assert ledger.count(Route, "step = ?", [step]) == 1

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.count(Route) == 200


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=8))
def test_one_record_is_one_line_whatever_its_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("exports")
    records = [path(number, f"{text}\u2028\u2029\x85\0\n\r") for number, text in enumerate(texts)]
    export_records(folder, "paths", records)
    raw = (folder / "paths.jsonl").read_bytes()
    assert raw.isascii()
    lines = raw.decode("ascii").splitlines()
    assert [ReasoningPath(**json.loads(line)) for line in lines] == records
    assert pq.read_table(folder / "paths.parquet").num_rows == len(records)


# --- nothing acknowledged is lost ------------------------------------------------------------------------------------------

WRITER = """
    import sys
    from pathlib import Path
    from qrdistill.errors import StorageError
    from qrdistill.store import Ledger
    from qrdistill.types import Route
    try:
        ledger = Ledger(Path(sys.argv[1]))
        step = ledger.count(Route)
        while True:
            ledger.add([Route(step=step, epoch=0, path_id="p" * 400, student="a", prob=0.5, is_routed=True)])
            print(step, flush=True)
            step += 1
    except StorageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


def test_sigkill_loses_no_acknowledged_row(tmp_path: Path) -> None:
    chance = random.Random(3)
    place = tmp_path / "ledger.sqlite"
    acknowledged = -1
    for _ in range(4):
        writer = start(WRITER, place)
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()  # not communicate(): it would lose what readline() has buffered
        writer.communicate()
        acknowledged = max([acknowledged, *map(int, rest.split("\n")[:-1])])
        ledger = Ledger(place)
        ledger.verify()
        steps = [record.step for record in ledger.all(Route)]
        ledger.close()
        assert steps == list(range(len(steps))), "rows are whole and none twice"
        assert len(steps) in (acknowledged + 1, acknowledged + 2), "at most the row in flight is there without a word"


@pytest.mark.parametrize("limit", [60_000, 100_000, 200_001, 400_000])
def test_a_full_disk_ends_with_74_and_keeps_acknowledged_rows(tmp_path: Path, limit: int) -> None:
    limited = "import resource\n" + f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + textwrap.dedent(WRITER)
    place = tmp_path / "ledger.sqlite"
    writer = start(limited, place)
    printed, complaint = writer.communicate(timeout=60)
    assert writer.returncode == 74, complaint
    assert "free disk space" in complaint
    acknowledged = len(printed.split())
    if place.exists():
        ledger = Ledger(place)
        ledger.verify()
        assert ledger.count(Route) >= acknowledged
        ledger.add([route(10**6)])
        ledger.close()
    else:
        assert acknowledged == 0


@pytest.mark.parametrize("failing", ["fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_file_is_whole_or_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int) -> None:
    target = tmp_path / "report.md"
    write_text(target, "before")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if failing == "open":
            patch.setattr(Path, "open", refuse)
        else:
            patch.setattr(os, failing, refuse)
        with pytest.raises(StorageError, match=os.strerror(code)):
            write_text(target, "after" * 1000)
    assert target.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.md"]


def test_write_text_keeps_every_character_and_escapes_surrogates(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\u2028\0\ud800")
    assert (tmp_path / "a.txt").read_bytes() == "é\u2028\0".encode() + b"\\ud800"


# --- one writer ------------------------------------------------------------------------------------------------------------


OWNER = """
    import os, sys, time
    from qrdistill.config import load_recipe
    from qrdistill.store import Run
    with Run(sys.argv[2], load_recipe(sys.argv[1])).owned():
        if len(sys.argv) > 3 and os.fork() == 0:
            os.close(1)
            time.sleep(30)
            os._exit(0)
        print("owned", flush=True)
        time.sleep(30)
"""


def test_a_second_writer_is_refused_at_once_and_told_who_has_it(tmp_path: Path, smoke_recipe: Path, smoke_config: Config) -> None:
    folder = tmp_path / "run"
    owner = start(OWNER, smoke_recipe, folder)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        started_s = time.monotonic()
        with pytest.raises(RunInUseError, match=f"in use by process {owner.pid};"), Run(folder, smoke_config).owned():
            pass
        assert took_s(started_s) < 2
        assert "not done" in repr(Run(folder)), "readers need no lock"
    finally:
        owner.kill()
        owner.communicate()
    with Run(folder, smoke_config).owned():
        assert (folder / "lock").read_text() == str(os.getpid())


def test_a_worker_that_outlives_its_killed_parent_does_not_keep_the_folder(tmp_path: Path, smoke_recipe: Path) -> None:
    folder = tmp_path / "run"
    owner = start(OWNER, smoke_recipe, folder, "fork")
    assert owner.stdout is not None
    assert owner.stdout.readline() == "owned\n"
    owner.kill()
    owner.wait()
    with Run(folder).owned() as run:
        assert run.ledger.count(Route) == 0
    owner.stdout.close()
    assert owner.stderr is not None
    owner.stderr.close()


def test_owning_is_re_entrant_and_ends(tmp_path: Path, smoke_config: Config) -> None:
    run = Run(tmp_path / "run", smoke_config)
    with run.owned(), run.owned():
        run.ledger.add([route(1)])
        with pytest.raises(RunInUseError), Run(tmp_path / "run").owned():
            pass
    with pytest.raises(StorageError, match="readonly"):
        run.ledger.add([route(2)])
    run.close()


# --- whatever changed is noticed -------------------------------------------------------------------------------------------


def finished_run(folder: Path, config: Config) -> Run:
    """A run whose first two stages are done."""
    run = Run(folder, config)
    with run.owned():
        run.ledger.add([path(number, "x" * 50) for number in range(40)])
        export_records(run.exports, "paths", run.ledger.all(ReasoningPath))
        run.finish("generate", {"paths": 40})
        decisions = [
            FilterDecision(path_id=f"path{n:04d}", question_id="q", style="cot", is_kept=True, reason="kept") for n in range(40)
        ]
        run.ledger.add(decisions)
        export_records(run.exports, "decisions", decisions)
        run.finish("filter", {"kept": 40})
    return run


def test_every_flipped_bit_of_the_ledger_is_noticed_or_harmless(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    intact = (run.ledger.all(ReasoningPath), run.ledger.all(FilterDecision), run.summary("filter"))
    run.close()
    place = run.folder / "ledger.sqlite"
    whole = place.read_bytes()
    chance = random.Random(5)
    used = [place for place, byte in enumerate(whole) if byte]
    noticed = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.choice(used)] ^= 1 << chance.randrange(8)
        place.write_bytes(damaged)
        reader = Run(run.folder)
        try:
            reader.verify()
            assert (reader.ledger.all(ReasoningPath), reader.ledger.all(FilterDecision), reader.summary("filter")) == intact
        except (CorruptRunError, StorageError):
            noticed += 1
        finally:
            reader.close()
    assert noticed > 100


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97])
def test_a_cut_ledger_is_noticed(tmp_path: Path, smoke_config: Config, share: float) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    run.close()
    place = run.folder / "ledger.sqlite"
    place.write_bytes(place.read_bytes()[: int(place.stat().st_size * share)])
    with pytest.raises(CorruptRunError, match=r"ledger\.sqlite"):
        Run(run.folder).verify()


@pytest.mark.parametrize("name", ["exports/paths.jsonl", "exports/decisions.parquet", "manifest.json", "config.yaml"])
def test_a_damaged_file_is_named(tmp_path: Path, smoke_config: Config, name: str) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    run.verify()
    run.close()
    place = run.folder / name
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with pytest.raises(CorruptRunError, match=Path(name).name):
        Run(run.folder).verify()


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "ledger.sqlite"
    Ledger(place).close()
    for version, message in ((99, "newer version"), (1, "too old")):
        database = sqlite3.connect(place)
        database.execute(f"PRAGMA user_version = {version}")
        database.close()
        for is_read_only in (True, False):
            with pytest.raises(CorruptRunError, match=message):
                Ledger(place, is_read_only=is_read_only)


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "ledger.sqlite"
    place.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(CorruptRunError, match="damaged"):
        Ledger(place)


def test_a_finished_run_can_be_read_where_nothing_can_be_written(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    run.close()
    code = """
        import os, sys
        from qrdistill.store import Run
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        run = Run(sys.argv[1])
        print(run.is_done("filter"), run.summary("filter"))
    """
    shutil.copytree(run.folder, shared := Path("/tmp") / f"qrdistill-test-{os.getpid()}")
    try:
        shared.chmod(0o555)
        for entry in shared.rglob("*"):
            entry.chmod(0o555 if entry.is_dir() else 0o444)
        out, complaint = start(code, shared).communicate(timeout=60)
        assert out == "True {'kept': 40}\n", complaint
    finally:
        shared.chmod(0o755)
        (shared / "exports").chmod(0o755)
        shutil.rmtree(shared)


# --- configs and stages ------------------------------------------------------------------------------------------------------


def changed(config: Config, **sections: object) -> Config:
    """The config with some leaves replaced, written section__field=value."""
    tree = config.model_dump(mode="json")
    for key, value in sections.items():
        section, _, name = key.partition("__")
        if name:
            tree[section][name] = value
        else:
            tree[section] = value
    return validate(tree)


def test_another_config_is_refused_and_each_difference_named(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    other = changed(smoke_config, training__epochs=3, seed=9)
    with pytest.raises(UnsafeConfigError, match=r"seed: 1 -> 9; training\.epochs: 1 -> 3.*--update"):
        Run(run.folder, other)
    assert Run(run.folder).config == smoke_config, "nothing was changed"


def test_an_update_undoes_exactly_the_stages_that_depend_on_it(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    for sections, still_done in (
        ({"training__epochs": 3}, ["generate", "filter"]),
        ({"evaluation__batch_size": 5}, ["generate", "filter"]),
        ({"runtime__threads": 1}, ["generate", "filter"]),
        ({"filter__check_answers": False}, ["generate"]),
        ({"questions__num_test": 9}, []),
        ({"seed": 5}, []),
    ):
        updated = Run(run.folder, changed(smoke_config, **sections), is_update=True)
        assert [stage for stage in ("generate", "filter", "train") if updated.is_done(stage)] == still_done, sections
        updated.close()


def test_later_stages_are_undone_when_what_they_read_changes_and_only_then(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    with run.owned():
        for digest, is_still_done in (("a", False), ("a", True), ("b", False)):
            run.finish("generate", {}, digest=digest)
            assert run.is_done("filter") is is_still_done, digest
            run.finish("filter", {})


def test_a_stage_that_began_for_another_config_is_not_done_when_the_config_comes_back(
    tmp_path: Path, smoke_config: Config
) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    with Run(run.folder, changed(smoke_config, filter__check_answers=False), is_update=True).owned() as other:
        other.begin("filter")
    back = Run(run.folder, smoke_config, is_update=True)
    assert (back.is_done("generate"), back.is_done("filter")) == (True, False)
    back.close()


def test_more_test_questions_are_held_against_the_pool_and_do_not_retrain(tmp_path: Path, smoke_config: Config) -> None:
    run = Run(tmp_path / "run", smoke_config)
    with run.owned():
        run.begin("generate")
        run.finish("generate", {}, digest="pool")
        run.begin("filter")
        run.finish("filter", {}, digest="kept")
        run.begin("train")
        run.finish("train", {})
    with Run(run.folder, changed(smoke_config, questions__num_test=9), is_update=True).owned() as larger:
        assert not larger.is_done("generate")
        assert larger.begin("generate") is False
        larger.finish("generate", {}, digest="pool")
        assert not larger.is_done("filter"), "a new test question may be one that is trained on"
        larger.begin("filter")
        larger.finish("filter", {}, digest="kept")
        assert larger.is_done("train"), "nothing leaked: the students stay"
        larger.finish("filter", {}, digest="one less")
        assert not larger.is_done("train")
    with Run(run.folder, changed(smoke_config, questions__num_train=9), is_update=True).owned() as other:
        other.begin("generate")
    back = Run(run.folder, changed(smoke_config, questions__num_test=9), is_update=True)
    assert (back.is_done("generate"), back.is_done("filter")) == (False, False)
    back.close()


def test_the_machine_may_change_without_asking(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    elsewhere = Run(run.folder, changed(smoke_config, runtime__threads=1))
    with elsewhere.owned():
        assert elsewhere.is_done("filter")
    assert Run(run.folder).config.runtime.threads == 1


def test_a_stage_is_not_done_when_its_data_or_its_files_changed(tmp_path: Path, smoke_config: Config) -> None:
    data = tmp_path / "paths.jsonl"
    data.write_text("{}\n")
    tree = smoke_config.model_dump(mode="json")
    tree["generate"]["teachers"] = [{"kind": "replay", "path": str(data)}]
    run = finished_run(tmp_path / "run", validate(tree))
    assert run.is_done("filter")
    (run.exports / "decisions.jsonl").unlink()
    assert (run.is_done("generate"), run.is_done("filter")) == (True, False)
    data.write_text('{"changed": true}\n')
    assert not run.is_done("generate")
    run.close()


def test_the_manifest_says_where_results_come_from(tmp_path: Path, smoke_config: Config) -> None:
    run = finished_run(tmp_path / "run", smoke_config)
    manifest = run.manifest()
    assert manifest["seed"] == smoke_config.seed
    assert manifest["versions"]["python"].startswith("3.")
    assert len(manifest["code_sha256"]) == 16
    assert set(manifest["stages"]) == {"generate", "filter"}
    assert manifest["files_sha256"]["exports/paths.jsonl"] == sha256(run.exports / "paths.jsonl")
    run.close()


def test_a_run_killed_before_its_first_write_starts_again(tmp_path: Path, smoke_config: Config) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock").write_text("123")
    (folder / ".config.yaml.tmp").write_text("half of a con")
    with Run(folder, smoke_config).owned() as run:
        (folder / ".ledger.sqlite.tmp").write_text("half of a ledger")
        assert run.ledger.count(Route) == 0


def test_folders_that_are_no_runs_are_left_alone(tmp_path: Path, smoke_config: Config) -> None:
    with pytest.raises(UsageError, match=r"holds no run .*start one with"):
        Run(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty and holds no run"):
        Run(tmp_path, smoke_config)
    with pytest.raises(UsageError, match="is a file"):
        Run(tmp_path / "thesis.tex", smoke_config)
    with pytest.raises(StorageError, match="cannot make"), Run("/proc/nowhere/run", smoke_config).owned():
        pass


def test_a_stage_asks_for_the_one_before(tmp_path: Path, smoke_config: Config) -> None:
    with Run(tmp_path / "run", smoke_config).owned() as run:
        with pytest.raises(UsageError, match=r"the filter stage is not finished .* run: qrdistill filter"):
            run.require("filter")
        assert run.begin("generate") is False
        assert run.begin("generate") is True
    run.close()
    with pytest.raises(DataError, match="no ledger yet"):
        Run(tmp_path / "run2", smoke_config).ledger  # noqa: B018


def test_json_files_are_stable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
