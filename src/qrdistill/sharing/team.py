"""Trained students as folders that plain transformers and PEFT load, each with a card, and the commands that use them.

::

    FOLDER/
      README.md             the team: scores, commands to measure and to serve
      NAME/                 adapter (or whole model), tokenizer, README.md

A student that was trained on the plain layout gets that layout as its chat template, so that chat servers, `pipeline` and
lm-evaluation-harness ask it the way it was trained.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.config import Config, FrozenConfig, HubSource, LoraConfig, PackageSource, StudentConfig, dump
from qrdistill.errors import DataError
from qrdistill.sharing.card import escaped, front_matter, markdown_table
from qrdistill.store import Run, write_text
from qrdistill.store.provenance import versions
from qrdistill.types import Score

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n\n"
    "Solution:\n{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""The plain layout of :mod:`qrdistill.students.template` as a chat template (one turn; a test holds the two equal)."""
_HUB = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct", "gemma3-270m": "google/gemma-3-270m"}
_TERMS = {"smollm2-135m-instruct": "apache-2.0", "gemma3-270m": "gemma"}
_TASKS = "gsm8k,arc_challenge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One exported student. `base` is the model its adapter belongs to ("" for a whole model), `rank` its LoRA rank (0: none)."""

    name: str
    base: str
    rank: int

    def measure(self, tasks: str = _TASKS) -> str:
        """The lm-evaluation-harness command, to be run inside the exported folder."""
        model = f"pretrained={self.base},peft={self.name}" if self.rank else f"pretrained={self.name}"
        parts = [
            "lm_eval",
            "--model",
            "hf",
            "--model_args",
            f"{model},tokenizer={self.name}",
            "--tasks",
            tasks,
            "--batch_size",
            "8",
        ]
        return shlex.join([*parts, "--apply_chat_template"])


def write_students(run: Run, folder: Path) -> list[Exported]:
    """Write every trained student, its card, and a card of the team.

    Raises:
        UsageError: the train stage is not done.
        DataError: no student was trained.
    """
    run.require("train")
    scores = run.ledger.all(Score) if run.is_done("evaluate") else []
    trained = [student for student in run.config.students if not isinstance(student.adapter, FrozenConfig)]
    if not trained:
        raise DataError(f"{run.folder}: every student is frozen, there is nothing to export")
    found = []
    for student in trained:
        place = folder / student.name
        shutil.copytree(run.student_folder(student.name), place, dirs_exist_ok=True)
        exported = _describe(student, place)
        write_text(place / "README.md", _card(run.config, student, exported, scores))
        found.append(exported)
    write_text(folder / "recipe.yaml", dump(run.config))
    write_text(folder / "README.md", _team_card(run.config, found, scores))
    return found


def _describe(student: StudentConfig, place: Path) -> Exported:
    if student.template == "plain" or not _has_template(place):
        write_text(place / "chat_template.jinja", PLAIN_TEMPLATE)
    is_lora = isinstance(student.adapter, LoraConfig)
    return Exported(
        name=student.name,
        base=base_of(student) if is_lora else "",
        rank=student.adapter.rank if isinstance(student.adapter, LoraConfig) else 0,
    )


def _has_template(place: Path) -> bool:
    settings = place / "tokenizer_config.json"
    return (place / "chat_template.jinja").is_file() or (
        settings.is_file() and bool(json.loads(settings.read_text(encoding="utf-8")).get("chat_template"))
    )


def base_of(student: StudentConfig) -> str:
    """The model a student starts from, as transformers would be asked for it ("" for tiny test models)."""
    source = student.source
    if isinstance(source, HubSource):
        return source.id
    return _HUB[source.id] if isinstance(source, PackageSource) else str(getattr(source, "path", ""))


def serve_commands(students: Sequence[Exported]) -> list[str]:
    """VLLM commands, to be run inside the exported folder: one server a base model, its adapters side by side."""
    by_base: dict[str, list[Exported]] = defaultdict(list)
    for student in students:
        by_base[student.base or student.name].append(student)
    commands = []
    for port, (base, members) in enumerate(by_base.items(), start=8000):
        parts = ["vllm", "serve", base, "--port", str(port)]
        if adapters := [member for member in members if member.rank]:
            template = f"{adapters[0].name}/chat_template.jinja"
            parts += ["--enable-lora", "--max-lora-rank", str(_rank_step(max(member.rank for member in adapters)))]
            parts += ["--lora-modules", *(f"{member.name}={member.name}" for member in adapters), "--chat-template", template]
        commands.append(shlex.join(parts))
    return commands


def _rank_step(rank: int) -> int:
    """The smallest maximum rank vLLM takes that holds `rank`.

    >>> [_rank_step(rank) for rank in (4, 16, 33)]
    [8, 16, 64]
    """
    return next((step for step in (8, 16, 32, 64, 128, 256, 320, 512) if step >= rank), rank)


# --- cards -------------------------------------------------------------------------------------------------------------------


def _scores(scores: Sequence[Score], names: Sequence[str]) -> str:
    rows = [
        (score.student, score.arm, score.task, score.n, f"{score.accuracy:.1%}", f"{score.low:.1%} to {score.high:.1%}")
        for score in scores
        if score.student in names
    ]
    if not rows:
        return "Not evaluated yet.\n"
    return markdown_table(("student", "arm", "task", "n", "accuracy", "95% interval"), rows)


def _card(config: Config, student: StudentConfig, exported: Exported, scores: Sequence[Score]) -> str:
    fields: dict[str, Any] = {
        "library_name": "peft" if exported.rank else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["qrdistill", "distillation", "reasoning", *(["lora"] if exported.rank else [])],
    }
    if base := base_of(student):
        fields["base_model"] = base
    if isinstance(student.source, PackageSource):
        fields["license"] = _TERMS[student.source.id]
    teachers = ", ".join(escaped(teacher.name) for teacher in config.generate.teachers)
    peers = ", ".join(escaped(other.name) for other in config.students if other is not student)
    return f"""{front_matter(fields)}
# {escaped(student.name)}, of the team {escaped(config.name)}

Trained with qrdistill {versions()["qrdistill"]} on reasoning paths of {teachers}, routed by the policy
`{config.method.policy.kind}`, together with {peers or "nobody"}.
Starts from {escaped(base) if base else "random weights (a test model)"}; its terms apply to this folder as well.

{_scores(scores, [student.name])}
Measured on the run's own test questions, greedily, with the plain prompt. One seed; nothing is known about other tasks.

## Use

```python
{_loading(exported)}
prompt = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "What is 6 times 7?\\nEnd with: The answer is <number>."}}],
    add_generation_prompt=True,
    return_tensors="pt",
    return_dict=True,
)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0], skip_special_tokens=True))
```

The last line of a question says what form the answer must have, as in training. Measure it elsewhere (in the folder above):

```sh
{exported.measure()}
```
"""


def _loading(exported: Exported) -> str:
    """Code that loads a student with plain transformers and PEFT, run inside the exported folder."""
    name = json.dumps(exported.name)
    if not exported.rank:
        return f"""from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name})
model = AutoModelForCausalLM.from_pretrained({name})"""
    return f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name})
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({json.dumps(exported.base)}), {name})"""


def _team_card(config: Config, students: Sequence[Exported], scores: Sequence[Score]) -> str:
    serve = "\n".join(serve_commands(students))
    measure = "\n".join(student.measure() for student in students)
    fields = {"tags": ["qrdistill", "distillation", "reasoning"], "pipeline_tag": "text-generation"}
    return f"""{front_matter(fields)}
# The team {escaped(config.name)}

{_scores(scores, [*(student.name for student in students), "vote", "oracle"])}
`vote` is the answer most students give; `oracle` counts a question when any student is right.

Serve (vLLM; one server a base model, adapters side by side):

```sh
{serve}
```

Measure with lm-evaluation-harness:

```sh
{measure}
```

`recipe.yaml` is the recipe that made them. Each student's card is in its folder.
"""
