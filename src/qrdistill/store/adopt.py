"""Taking over what another run has finished: stages with the same fingerprint are then done here too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from qrdistill.errors import StorageError
from qrdistill.store.files import sync_folder
from qrdistill.store.run import Run


def adopt(run: Run, source: Run) -> None:
    """Copy another run's ledger and exports into a run that has no ledger yet; with one, nothing happens.

    Every stage of `source` whose fingerprint this run's config gives as well counts as done; the others run as usual.

    Args:
        run: an owned run.
        source: a run that nobody is writing to.

    Raises:
        StorageError: the disk refuses.
    """
    target = run.folder / "ledger.sqlite"
    if target.exists():
        return
    draft = run.folder / ".ledger.adopted.tmp"
    try:
        draft.unlink(missing_ok=True)
        source.ledger.execute("VACUUM INTO ?", (str(draft),))
        if source.exports.is_dir():
            shutil.copytree(source.exports, run.exports, dirs_exist_ok=True)
        _sync(draft)
        run.close()
        os.replace(draft, target)
        sync_folder(run.folder)
    except OSError as error:
        raise StorageError(f"cannot copy {source.folder} to {run.folder}: {error}; free disk space, then run again") from error


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
