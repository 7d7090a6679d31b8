"""How well the memory planner predicts: trains real students in processes of their own and reads their peak resident memory.

    python benchmarks/memory.py [--configs one_lora,two_lora,one_full] [--questions 8] [--out FILE]

Every configuration is recipes/quickstart.yaml with other students, so many training questions a task, and peers from the first
step on. One process predicts from the run's kept paths (what `qrdistill check RUN` prints), another trains (with checkpoints and
the folders at the end) and reports its peak. Bar: predicted and measured differ by at most 15%.

    one_lora   SmolLM2-135M, LoRA on all linear layers
    two_lora   the same and Gemma-3-270M, with router and peers (the quickstart)
    one_full   SmolLM2-135M, every weight trained

The last line is JSON: per configuration predicted and measured bytes and their ratio; `worst` is the largest deviation.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
SMOLLM2 = "name: smollm2, source: {kind: package, id: smollm2-135m-instruct}"
CONFIGS: dict[str, tuple[str, ...]] = {
    "one_lora": (f"students=[{{{SMOLLM2}}}]",),
    "two_lora": (),
    "one_full": (f"students=[{{{SMOLLM2}, adapter: {{kind: full}}, learning_rate: 5e-5}}]",),
}


def prepare(folder: Path, name: str, questions: int) -> None:
    """A run of the configuration whose paths are kept."""
    from qrdistill.config import load_recipe
    from qrdistill.pipeline import run_pipeline

    changes = [*CONFIGS[name], f"questions.num_train={questions}", "method.peers.warmup_frac=0", "training.checkpoint_steps=10"]
    run_pipeline(load_recipe(RECIPE, overrides=changes), folder, until="filter").close()


def predict(folder: str) -> dict[str, Any]:
    """What the planner says of a run."""
    from qrdistill.planning.room import room_for
    from qrdistill.store import Run

    run = Run(folder)
    room = room_for(run.config, run)
    assert room is not None
    return {"predicted": room.memory.peaks[0], "basis": room.basis, "largest_step": [s.step_tokens for s in room.memory.students]}


def train(folder: str) -> dict[str, Any]:
    """Train, and say what it took."""
    from qrdistill.machine import peak_memory_bytes
    from qrdistill.store import Run
    from qrdistill.training.loop import train as train_run

    run = Run(folder)
    train_run(run)
    return {"measured": peak_memory_bytes(), "steps": run.summary("train")["steps"]}


def in_process(what: str, folder: Path) -> dict[str, Any]:
    """Run one of the two in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--child", what, str(folder)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default=",".join(CONFIGS))
    parser.add_argument("--questions", type=int, default=8, help="training questions per task (of three tasks)")
    parser.add_argument("--out", default="")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "RUN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, folder = arguments.child
        print(json.dumps({"predict": predict, "train": train}[what](folder)))
        return
    found: dict[str, Any] = {}
    for name in arguments.configs.split(","):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            prepare(folder, name, arguments.questions)
            row = in_process("predict", folder) | in_process("train", folder)
        row["ratio"] = round(row["measured"] / row["predicted"], 3)
        found[name] = row
        print(
            f"{name}: predicted {row['predicted'] / 1e9:.2f} GB, measured {row['measured'] / 1e9:.2f} GB ({row['ratio']})",
            flush=True,
        )
    result = {"configs": found, "worst": round(max(abs(row["ratio"] - 1) for row in found.values()), 3)}
    if arguments.out:
        about = {
            "questions": arguments.questions,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "safetensors")},
        }
        Path(arguments.out).write_text(json.dumps({**result, **about}, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
