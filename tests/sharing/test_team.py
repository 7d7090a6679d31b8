"""Exported students load in plain transformers and PEFT and answer as they did in the run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from qrdistill.config import LoraConfig, StudentConfig, TinySource
from qrdistill.pipeline import run_pipeline
from qrdistill.sharing import write_students
from qrdistill.sharing.team import Exported, serve_commands
from qrdistill.store import Run
from qrdistill.students import Student, load_student
from qrdistill.students.template import Template
from qrdistill.training.loop import train
from recipes import toy_recipe

PROMPT = "What is 6 times 7?\nEnd with: The answer is <number>."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    student = load_student(StudentConfig(name="base", source=TinySource(), adapter={"kind": "full"}), seed=0, device="cpu")
    student.save(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Run:
    """A trained team of one adapter and one whole model."""
    recipe = toy_recipe(
        students=[
            {
                "name": "adapter",
                "source": {"kind": "folder", "path": str(base)},
                "adapter": {"kind": "lora", "rank": 4, "alpha": 8},
                "learning_rate": 3e-2,
            },
            {"name": "whole", "source": {"kind": "tiny", "architecture": "gemma3"}, "adapter": {"kind": "full"}},
        ]
    )
    return run_pipeline(recipe, tmp_path_factory.mktemp("trained") / "run", until="train")


@pytest.fixture(scope="module")
def folder(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported team."""
    place = tmp_path_factory.mktemp("exported")
    write_students(trained, place)
    return place


def logits_of(student: Student, ids: list[int]) -> torch.Tensor:
    """Next-token logits of a student as the run has it."""
    with torch.no_grad():
        return student.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("index", [0, 1], ids=["adapter", "whole"])
def test_plain_transformers_and_peft_give_the_run_s_own_logits(index: int, trained: Run, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student = train(trained)[index]
    place = folder / student.name
    tokenizer = AutoTokenizer.from_pretrained(place)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], add_generation_prompt=True)
    assert list(ids.input_ids if hasattr(ids, "input_ids") else ids) == student.template.prompt_ids(PROMPT)
    if isinstance(student.config.adapter, LoraConfig):
        plain = AutoModelForCausalLM.from_pretrained(student.config.source.path)
        before = plain(input_ids=torch.tensor([student.template.prompt_ids(PROMPT)])).logits[0, -1]
        model = PeftModel.from_pretrained(plain, place)
    else:
        before, model = None, AutoModelForCausalLM.from_pretrained(place)
    expected = logits_of(student, student.template.prompt_ids(PROMPT))
    with torch.no_grad():
        found = model(input_ids=torch.tensor([student.template.prompt_ids(PROMPT)])).logits[0, -1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if before is not None:
        assert (before - found).abs().max() > 1e-3, "the adapter must do something"


def test_the_code_in_each_card_runs(folder: Path) -> None:
    for name in ("adapter", "whole"):
        card = (folder / name / "README.md").read_text()
        code = card.partition("```python\n")[2].partition("```")[0].replace("max_new_tokens=64", "max_new_tokens=2")
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_cards_name_base_and_kind(folder: Path, base: Path) -> None:
    fronts = {name: yaml.safe_load((folder / name / "README.md").read_text().split("---\n")[1]) for name in ("adapter", "whole")}
    assert fronts["adapter"]["library_name"] == "peft"
    assert fronts["adapter"]["base_model"] == str(base)
    assert fronts["whole"]["library_name"] == "transformers"
    assert "base_model" not in fronts["whole"]
    team = (folder / "README.md").read_text()
    assert f"vllm serve {base} --port 8000 --enable-lora --max-lora-rank 8 --lora-modules adapter=adapter" in team
    assert "vllm serve whole --port 8001" in team
    assert f"pretrained={base},peft=adapter,tokenizer=adapter" in team


def test_the_measuring_commands_are_ones_the_harness_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    from lm_eval._cli import HarnessCLI

    fences = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    commands = [line for fence in fences for line in fence.splitlines() if line.startswith("lm_eval ")]
    assert len(commands) == 2
    for command, name in zip(commands, ("adapter", "whole"), strict=True):
        monkeypatch.setattr("sys.argv", shlex.split(command))
        given = HarnessCLI().parse_args()
        assert (given.model, given.apply_chat_template) == ("hf", True)
        assert given.tasks
        assert name in str(given.model_args)
        monkeypatch.setattr("sys.argv", shlex.split(command.replace("--apply_chat_template", "--apply_chat_templat_")))
        with pytest.raises(SystemExit):
            HarnessCLI().parse_args()


@pytest.mark.nightly
def test_the_harness_measures_an_exported_student(folder: Path, tmp_path: Path) -> None:
    """The card's command, whole, on a task of three questions in a file."""
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    rows = [{"question": f"What is {n} plus 1?", "answer": str(n + 1)} for n in range(3)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match"}],
    }
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(task))
    for name in ("adapter", "whole"):
        (command,) = re.findall(r"^lm_eval .*$", (folder / name / "README.md").read_text(), re.MULTILINE)
        words = shlex.split(command)
        words[words.index("--tasks") + 1] = "sums"
        more = ["--include_path", str(tmp_path), "--output_path", str(tmp_path / "out" / name), "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", *words, *more], cwd=folder, capture_output=True, text=True, timeout=600,
            env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (found,) = (tmp_path / "out" / name).rglob("results_*.json")
        assert json.loads(found.read_text())["n-samples"]["sums"]["original"] == 3


def test_adapters_of_one_base_share_a_server() -> None:
    members = [Exported(name=name, base=base, rank=rank) for name, base, rank in (("a", "x", 8), ("b", "x", 20), ("c", "y", 4))]
    first, second = serve_commands(members)
    assert first.startswith("vllm serve x --port 8000 --enable-lora --max-lora-rank 32 --lora-modules a=a b=b")
    assert second.startswith("vllm serve y --port 8001 --enable-lora --max-lora-rank 8 --lora-modules c=c")


def test_the_plain_layout_ends_with_the_end_token(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "adapter")
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    ids = tokenizer.apply_chat_template(turns)
    ids = list(ids.input_ids if hasattr(ids, "input_ids") else ids)
    plain = Template(tokenizer, "plain", student="x")
    assert ids == [*plain.prompt_ids("Q"), *plain.response_ids("A")[0]]
