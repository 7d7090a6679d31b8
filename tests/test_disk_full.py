"""B2: the disk is full at every single write in turn, on a real small file system, too. Nothing acknowledged is lost."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# One process for all limits: a soft limit may be raised again, which is what freeing space looks like.
SWEEP = """
    import resource, sys
    from pathlib import Path
    from qrdistill.errors import StorageError
    from qrdistill.store import Ledger, export_records
    from qrdistill.types import Route

    PAGE, ROWS = 4096, 12

    def rows():
        same = dict(epoch=0, path_id="p" * 900, student="a", prob=0.5, is_routed=True, utility=0.1)
        return [Route(step=step, **same) for step in range(ROWS)]

    def write(folder):
        '''How many rows are acknowledged, and the error that ended it.'''
        folder.mkdir(exist_ok=True)
        done, ledger = 0, None
        try:
            ledger = Ledger(folder / "ledger.sqlite")
            for row in rows():
                ledger.add([row])
                done += 1
            export_records(folder / "exports", "routes", ledger.all(Route))
            ledger.close()
            return done, None
        except StorageError as error:
            return done, error

    whole = Path(sys.argv[1]) / "whole"
    write(whole)
    exported = (whole / "exports" / "routes.jsonl").read_bytes()
    refused = number = 0
    while number < 1000 and number < refused + 3:  # until three limits in a row stand in nobody's way
        folder = Path(sys.argv[1]) / str(number)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number * PAGE, resource.RLIM_INFINITY))
        done, error = write(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert error is None or (error.exit_code == 74 and "free disk space" in str(error)), error
        refused, number = refused + (error is not None), number + 1
        place = folder / "ledger.sqlite"
        if place.exists() and place.stat().st_size:
            ledger = Ledger(place)
            ledger.verify()
            kept = ledger.all(Route)
            ledger.close()
            assert len(kept) in (done, done + 1) and kept == rows()[:len(kept)], (number, done, len(kept))
        else:
            assert done == 0
        again, error = write(folder)
        assert (again, error) == (ROWS, None)
        assert (folder / "exports" / "routes.jsonl").read_bytes() == exported
    print(refused)
"""


def test_the_disk_is_full_at_every_write_in_turn(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SWEEP), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert 40 <= int(done.stdout) < 990, "every write has been the one that fails"


ON_TMPFS = """
    mount -t tmpfs -o size={size}k tmpfs {folder} || exit 99
    {python} -m qrdistill generate {recipe} -o {folder}/run; code=$?
    test $code -eq 74 || exit 1
    mount -o remount,size=64m tmpfs {folder}
    {python} -m qrdistill run {recipe} -o {folder}/run --until filter || exit 2
    cp -r {folder}/run/exports {out}
"""


@pytest.mark.parametrize("size", [160, 280])
def test_a_real_file_system_without_space_resumes_after_it_has_some(
    tmp_path: Path, smoke_recipe: Path, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs user and mount namespaces")
    whole = tmp_path_factory.mktemp("whole") / "run"
    command = [sys.executable, "-m", "qrdistill", "run", str(smoke_recipe), "-o", str(whole), "--until", "filter"]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    small = tmp_path / "small"
    small.mkdir()
    script = ON_TMPFS.format(size=size, folder=small, python=sys.executable, recipe=smoke_recipe, out=tmp_path / "exports")
    done = subprocess.run([unshare, "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=240, env=os.environ)
    if done.returncode == 99:
        pytest.skip("may not mount a tmpfs here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "free disk space" in done.stderr
    for name in ("questions.jsonl", "paths.jsonl", "decisions.jsonl"):
        assert (tmp_path / "exports" / name).read_bytes() == (whole / "exports" / name).read_bytes()
