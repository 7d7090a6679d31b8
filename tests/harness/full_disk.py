"""A disk that is full: files of a child process may grow to a limit and no further (RLIMIT_FSIZE)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

_LIMITED = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run_on_full_disk(
    arguments: Sequence[str], *, max_file_bytes: int, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a module (`name arguments ...`) whose files may not grow beyond a size."""
    command = [sys.executable, "-c", _LIMITED, str(max_file_bytes), *arguments]
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=120, check=False)
