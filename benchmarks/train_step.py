"""What a training step of the whole method costs beside today's tools, on the same paths, in one process and one thread.

    python benchmarks/train_step.py [--shapes 120x4,60x4,300x4,120x6] [--rounds 3] [--students real|tiny] [--out FILE]

A shape is the prompt's length in tokens of the first student x the number of paths; paths have about 80 tokens (60 to 100). Every
arm trains both students (SmolLM2-135M-Instruct and Gemma-3-270M, LoRA rank 16 on all linear layers, float32) on one question's
paths a step: the same prompt tokens, the same labels. The arms take turns, round by round.

    ours   joint_step with router, learning state, utility and peers; every gate is open, so that every path is trained
    bare   hidden states of the packed rows, the loss on their labels as the library reads it, its gradient; no optimizer
    plain  the same with `cross_entropy` on all of a row's label logits at once, as one would write it by hand
    hf     transformers and PEFT: padded batch, the model's own loss, backward, AdamW
    trl    TRL's SFTTrainer in its own training loop, the faster of a padded batch and a row without padding
    S      joint_step of one to four copies of the first student, per student

Figures are CPU seconds (time.process_time); medians over the rounds, the ratios taken round by round. vs_hf and vs_trl: label
tokens a second of `ours` over theirs. overhead: `ours` over `bare`, less one. per_student: seconds per student over S = 1.
The last line is JSON: vs_hf, vs_trl, overhead (first shape). The bars: 2.0, 1.6, 0.10, and 1.05 for per_student.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset

from qrdistill.config import FrozenConfig, LoraConfig, PackageSource, RuntimeConfig, StudentConfig, TinySource
from qrdistill.config.method import PeerConfig, QRDistillPolicyConfig
from qrdistill.routing.features import StateMemory
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.policy import Routing, Setting, StepView
from qrdistill.routing.utility import make_utility
from qrdistill.routing.values import answer_determining_spans
from qrdistill.students import PackedBatch, Student, load_student, pack, read_labels, tokenize_path
from qrdistill.students.adapter import attach_lora
from qrdistill.students.align import aligned_positions
from qrdistill.training.peers import make_peers
from qrdistill.training.pool import PoolPath, PoolQuestion, StepWork, family, step_work
from qrdistill.training.step import Method, StepKnobs, joint_step
from qrdistill.training.team import Team
from qrdistill.training.trainer import ROW_TOKENS
from qrdistill.types import Question, ReasoningPath

STYLES = ("vanilla", "cot", "tot", "program", "backward", "fact")
PATH_TOKENS = 80
EMBED_DIM = 384
LEARNING_RATE = 1e-4
ADAPTER = LoraConfig(rank=16, alpha=32)


def student_configs(kind: str, adapter: LoraConfig | FrozenConfig = ADAPTER) -> list[StudentConfig]:
    sources: dict[str, Any] = {
        "real": [PackageSource(id="smollm2-135m-instruct"), PackageSource(id="gemma3-270m")],
        "tiny": [TinySource(architecture="llama", seed=0), TinySource(architecture="gemma3", seed=1)],
    }
    return [
        StudentConfig(name=f"s{index}", source=source, adapter=adapter, learning_rate=LEARNING_RATE)
        for index, source in enumerate(sources[kind])
    ]


# --- the rows ----------------------------------------------------------------------------------------------------------------


def grow(student: Student, sentence: Callable[[], str], num_tokens: int) -> str:
    """Sentences up to a number of the student's tokens."""
    text = sentence()
    while len(student.template.response_ids(longer := f"{text} {sentence()}")[0]) <= num_tokens:
        text = longer
    return text


def make_work(students: Sequence[Student], prompt_tokens: int, num_paths: int, seed: int) -> StepWork:
    """One question with paths of 60 to 100 tokens, all with an answer and values it depends on."""
    draw = random.Random(seed)
    lengths = [round(PATH_TOKENS * (0.75 + 0.5 * index / max(num_paths - 1, 1))) for index in range(num_paths)]
    layout = len(students[0].template.prompt_ids(""))
    prompt = grow(
        students[0],
        lambda: f"{draw.choice(['Ann', 'Ben', 'Kim'])} has {draw.randint(2, 99)} {draw.choice(['apples', 'coins'])}.",
        max(prompt_tokens - layout, 8),
    )
    question = Question(id="q", task="bench", family="sums", split="train", text=prompt, gold="0", kind="number")
    paths = []
    for index, length in enumerate(lengths):
        steps = grow(
            students[0], lambda: f"Then {draw.randint(100, 500)} + {draw.randint(2, 99)} = {draw.randint(500, 999)}.", length
        )
        text = f"{steps} The answer is {steps.split()[-1]}"
        path = ReasoningPath(id=str(index), question_id="q", teacher="bench", style=STYLES[index % 6], sample=0, text=text)
        tokens = tuple(tokenize_path(student, prompt, path.id, text) for student in students)
        spans = answer_determining_spans(prompt, text, text.rindex(" ") + 1, len(text) - 1)
        aligned = tuple(aligned_positions(tokens)) if len(students) > 1 else ()
        paths.append(PoolPath(path=path, quality=1.0, value_spans=spans, tokens=tokens, aligned=aligned))
    return step_work([PoolQuestion(question=question, prompt=prompt, paths=tuple(paths))])


# --- the arms ----------------------------------------------------------------------------------------------------------------


class OpenGates(QRDistillPolicy):
    """The trained router; its gates are drawn and then all opened, so that every arm trains on the same paths."""

    def route(self, view: StepView) -> Routing:
        """Everything is routed."""
        drawn = super().route(view)
        return Routing(prob_PS=drawn.prob_PS, gate_PS=torch.ones_like(drawn.gate_PS))


class Ours:
    """The joint step, from the cached encoder rows to the router's own update."""

    def __init__(self, students: Sequence[Student], work: StepWork) -> None:
        config = QRDistillPolicyConfig()
        groups = sorted({(path.path.style, family(work.questions[0].question)) for path in work.paths})
        setting = Setting(students=tuple(student.name for student in students), seed=0, embed_dim=EMBED_DIM)
        self.work, self.step = work, 0
        self.team = Team(students, RuntimeConfig(threads=1))
        self.optimizers = [adamw([weight for _, weight in student.trainable()]) for student in students]
        self.method = Method(
            policy=OpenGates(config, setting),
            utility=make_utility(config.utility, num_students=len(students), groups=groups),
            memory=StateMemory(num_students=len(students), groups=groups, decay=0.95),
            sketches=[None] * len(students),
            peers=make_peers(PeerConfig(), students, seed=0),
            row_tokens=ROW_TOKENS["cpu"],
            max_grad_norm=1.0,
        )
        rows = torch.randn(len(work.paths), EMBED_DIM, generator=torch.Generator().manual_seed(0))
        self.embeddings = (rows[:1].expand_as(rows), rows)

    def __call__(self) -> list[float]:
        """One step; the students' losses."""
        knobs = StepKnobs(
            step=self.step,
            seed=0,
            epoch=0,
            progress=0.5,
            peer_weight=0.1 if self.method.peers else 0.0,
            is_first_sight=False,
            is_open_S=[True] * len(self.optimizers),
        )
        result = joint_step(self.team, self.optimizers, self.method, self.work, self.embeddings, knobs)
        self.step += 1
        return [result.metrics[f"loss/sft/{student.name}"] for student in self.team.students]


class Bare:
    """Forward and backward of the packed rows, label by label where logits are, and nothing else."""

    def __init__(self, students: Sequence[Student], work: StepWork, loss: Callable[[Student, PackedBatch], float]) -> None:
        self.students, self.loss = students, loss
        self.rows = [pack([[path.tokens[index] for path in work.paths]], ROW_TOKENS["cpu"]) for index in range(len(students))]

    def __call__(self) -> list[float]:
        """One pass; the students' losses."""
        losses = []
        for student, rows in zip(self.students, self.rows, strict=True):
            for _, weight in student.trainable():
                weight.grad = None
            total = sum(row.num_labels for row in rows)
            losses.append(sum(self.loss(student, row) * row.num_labels / total for row in rows))
        return losses


def lean_loss(student: Student, row: PackedBatch) -> float:
    """Loss and gradient as the library reads them off the head, nobody looking on."""
    hidden_ND = student.hidden(row)[row.predict_N]
    reading = read_labels(student, hidden_ND, row.label_N, is_grad=True)
    assert reading.grad_ND is not None
    hidden_ND.backward(reading.grad_ND / row.num_labels)
    return float(reading.nll_N.mean())


def plain_loss(student: Student, row: PackedBatch) -> float:
    """`cross_entropy` over the logits of every label."""
    loss = torch.nn.functional.cross_entropy(student.logits(student.hidden(row)[row.predict_N]), row.label_N)
    loss.backward()
    return float(loss.detach())


class HuggingFace:
    """A training loop of a few lines: pad, forward with labels, backward, step."""

    def __init__(self, models: Sequence[Any], work: StepWork) -> None:
        self.models = models
        self.optimizers = [adamw([weight for weight in model.parameters() if weight.requires_grad]) for model in models]
        self.examples = [examples_of(work, index) for index in range(len(models))]

    def __call__(self) -> list[float]:
        """One step of each model; their losses."""
        losses = []
        for model, optimizer, examples in zip(self.models, self.optimizers, self.examples, strict=True):
            batch = pad(examples)
            loss = model(**batch, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_([weight for weight in model.parameters() if weight.requires_grad], 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        return losses


class WatchedTrainer(trl.SFTTrainer):
    """SFTTrainer that remembers the loss of its last step."""

    last_loss = 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As it is."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.last_loss = float(loss)
        return loss


class Trl:
    """SFTTrainer's own loop in a thread, let go one optimizer step at a time."""

    def __init__(self, model: Any, tokenizer: Any, work: StepWork, index: int, folder: Path, *, is_padding_free: bool) -> None:
        self.go, self.done, self.error = threading.Semaphore(0), threading.Semaphore(0), None
        self.is_over = False
        settings = trl.SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=len(work.paths),
            num_train_epochs=10_000,
            learning_rate=LEARNING_RATE,
            padding_free=is_padding_free,
            max_length=None,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        rows = Dataset.from_list(examples_of(work, index))
        self.trainer = WatchedTrainer(
            model=model, args=settings, train_dataset=rows, processing_class=tokenizer, callbacks=[self._pacer()]
        )
        self.trainer.remove_callback(transformers.PrinterCallback)
        self.thread = threading.Thread(target=self._train, daemon=True)

    def _pacer(self) -> transformers.TrainerCallback:
        outer = self

        class Pacer(transformers.TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
                outer.done.release()
                outer.go.acquire()
                control.should_training_stop = outer.is_over
                return control

        return Pacer()

    def _train(self) -> None:
        torch.set_num_threads(1)
        self.go.acquire()
        try:
            self.trainer.train()
        except Exception as error:
            self.error = error
        self.done.release()

    def __call__(self) -> list[float]:
        """One optimizer step with its batch."""
        if not self.thread.is_alive():
            self.thread.start()
        self.go.release()
        self.done.acquire()
        if self.error is not None:
            raise self.error
        return [self.trainer.last_loss]

    def close(self) -> None:
        """End the loop."""
        if self.thread.is_alive():
            self.is_over = True
            self.go.release()
            self.thread.join()


class Together:
    """Several arms of one model each as one arm."""

    def __init__(self, parts: Sequence[Trl]) -> None:
        self.parts = parts

    def __call__(self) -> list[float]:
        """One step of each."""
        return [loss for part in self.parts for loss in part()]


def adamw(weights: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.0, foreach=True)


def examples_of(work: StepWork, index: int) -> list[dict[str, list[int]]]:
    """Prompt and path of every row, labels on the path alone."""
    rows = [path.tokens[index] for path in work.paths]
    return [
        {
            "input_ids": [*row.prompt_ids, *row.response_ids],
            "labels": [*[-100] * len(row.prompt_ids), *row.response_ids],
        }
        for row in rows
    ]


def pad(examples: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Padded on the right to the longest row of the batch."""
    columns = {
        "input_ids": [torch.tensor(row["input_ids"]) for row in examples],
        "labels": [torch.tensor(row["labels"]) for row in examples],
        "attention_mask": [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in examples],
    }
    return {
        name: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100 if name == "labels" else 0)
        for name, rows in columns.items()
    }


def plain_model(base: Any, seed: int) -> Any:
    """A base as transformers and PEFT give it, with PEFT's own adapter layers; the frozen weights are shared."""
    model = copy.deepcopy(base, {id(weight): weight for weight in base.parameters()})
    model.set_attn_implementation("sdpa")
    return attach_lora(model, ADAPTER, seed=seed, student="plain")


# --- measuring ---------------------------------------------------------------------------------------------------------------


def interleaved(
    arms: dict[str, Callable[[], list[float]]], rounds: int, first: dict[str, list[float]] | None = None
) -> dict[str, list[float]]:
    """CPU seconds of each arm in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            began = time.process_time()
            losses = arm()
            if number:
                seconds[name].append(time.process_time() - began)
            elif first is not None:
                first[name] = losses
    return seconds


def insist_on_equal_labels(first: dict[str, list[float]]) -> None:
    """Before any update every arm has the base model's loss on the same labels."""
    gap = max(abs(a - b) for losses in first.values() for a, b in zip(losses, first["bare"], strict=True))
    assert gap < 1e-3, f"the arms do not train on the same labels: first losses {first}"


def measure_shape(
    students: Sequence[Student],
    start: Sequence[dict[str, torch.Tensor]],
    bases: Sequence[Student],
    shape: str,
    rounds: int,
    folder: Path,
) -> dict[str, Any]:
    prompt_tokens, num_paths = map(int, shape.split("x"))
    work = make_work(students, prompt_tokens, num_paths, seed=prompt_tokens)
    for student, weights in zip(students, start, strict=True):
        student.load_state_dict(weights)
    labels = sum(len(tokens.response_ids) for path in work.paths for tokens in path.tokens)
    loops = {
        name: [
            Trl(plain_model(base.model, index), copy.deepcopy(base.tokenizer), work, index, folder, is_padding_free=free)
            for index, base in enumerate(bases)
        ]
        for name, free in (("trl", False), ("trl_padding_free", True))
    }
    arms: dict[str, Callable[[], list[float]]] = {
        "bare": Bare(students, work, lean_loss),
        "plain": Bare(students, work, plain_loss),
        "ours": Ours(students, work),
        "hf": HuggingFace([plain_model(base.model, index) for index, base in enumerate(bases)], work),
    }
    arms |= {name: Together(parts) for name, parts in loops.items()}
    try:
        seconds = interleaved(arms, rounds, first := {})
        insist_on_equal_labels(first)
    finally:
        for parts in loops.values():
            for part in parts:
                part.close()

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))

    found = {
        "label_tokens": labels,
        "prompt_tokens": [len(tokens.prompt_ids) for tokens in work.paths[0].tokens],
        "cpu_s": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "label_tokens_per_s": {name: round(labels / statistics.median(values), 1) for name, values in seconds.items()},
        "vs_hf": round(ratio("hf", "ours"), 3),
        "vs_trl": round(min(ratio("trl", "ours"), ratio("trl_padding_free", "ours")), 3),
        "overhead": round(ratio("ours", "bare") - 1, 4),
        "overhead_over_plain": round(ratio("ours", "plain") - 1, 4),
    }
    print(f"{shape}: {json.dumps(found)}", flush=True)
    return found


def measure_team_sizes(kind: str, rounds: int) -> dict[str, float]:
    first = student_configs(kind)[0]
    students = [load_student(first.model_copy(update={"name": f"s{seed}"}), seed=seed, device="cpu") for seed in range(4)]
    arms: dict[str, Callable[[], list[float]]] = {
        str(size): Ours(students[:size], make_work(students[:size], 120, 4, seed=120)) for size in range(1, 5)
    }
    seconds = interleaved(arms, rounds)
    per_student = {
        size: statistics.median(a / int(size) / b for a, b in zip(seconds[size], seconds["1"], strict=True)) for size in arms
    }
    return {size: round(value, 4) for size, value in per_student.items()}


def commit() -> str:
    """What is measured: the commit, and whether the library differs from it."""

    def git(*words: str) -> str:
        folder = Path(__file__).resolve().parent
        return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/benchmarks/train_step.py")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="120x4,60x4,300x4,120x6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--students", choices=("real", "tiny"), default="real")
    parser.add_argument("--out", default="", help="also write the figures, with commit, machine and versions, to this JSON file")
    given = parser.parse_args()
    measured = commit() if given.out else ""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    per_student = measure_team_sizes(given.students, given.rounds)
    print(f"seconds per student over those of S = 1: {json.dumps(per_student)}", flush=True)
    students, bases = (
        [load_student(config, seed=index, device="cpu") for index, config in enumerate(student_configs(given.students, adapter))]
        for adapter in (ADAPTER, FrozenConfig())
    )
    start = [student.state_dict() for student in students]
    shapes: dict[str, Any] = {}
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in given.shapes.split(","):
            shapes[shape] = measure_shape(students, start, bases, shape, given.rounds, Path(folder))
            found = found or {name: shapes[shape][name] for name in ("vs_hf", "vs_trl", "overhead")}
            if given.out:  # after every shape: they take minutes each
                write(Path(given.out), given, measured, {**found, "shapes": shapes, "per_student": per_student})
    print(json.dumps(found))


def write(path: Path, given: argparse.Namespace, measured: str, found: dict[str, Any]) -> None:
    """The figures with what they were measured on."""
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    packages = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "trl")}
    settings = {key: value for key, value in vars(given).items() if key != "out"}
    kept = {**found, "settings": settings, "seed": 0, "commit": measured, "machine": machine, "versions": packages}
    path.write_text(json.dumps(kept | {"threads": torch.get_num_threads()}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
