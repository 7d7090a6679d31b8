"""The one config tree: what a recipe may say, with bounds and a sentence for each field.

Unions are told apart by `kind`; `None` never means "default"; unknown keys are refused. Names of tasks and styles live in
registries of rooms above this one and are checked when a run is planned. The file is longer than most because it is the one
page where every setting can be looked up.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qrdistill.config.endpoints import (
    BudgetConfig,
    CassetteTeacherConfig,
    LLMJudgeConfig,
    OpenAICompatibleTeacherConfig,
    StyleConfig,
)
from qrdistill.config.extras import PREFERENCES
from qrdistill.config.method import MethodConfig
from qrdistill.config.questions import Name, TaskConfig

Fraction = Annotated[float, Field(ge=0, le=1)]
STYLES = ("vanilla", "cot", "tot", "program", "backward", "fact")
"""The paper's six prompt styles, in its order."""
STREAM_STYLES = ("label", "rephrase", "new_question", "backward_question", "backward_reasoning")
"""Styles whose replies bring their own training prompt (see `qrdistill.teacher.streams`)."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


# --- questions -----------------------------------------------------------------------------------------------------------


class QuestionsConfig(_Model):
    """Which questions, and how many of each split. Splits are disjoint and fixed by seed and content hash."""

    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    num_train: int = Field(60, ge=1)
    """Training questions per task (trained on)."""
    num_validation: int = Field(8, ge=0)
    """Validation questions per task: held-out training questions that drive the router; never trained on."""
    num_test: int = Field(50, ge=1)
    """Test questions per task."""

    @model_validator(mode="after")
    def _names_differ(self) -> QuestionsConfig:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"task names must differ, but {twice[0]!r} stands twice")
        return self


# --- teacher and filter --------------------------------------------------------------------------------------------------


class WorkedSolutionTeacherConfig(_Model):
    """The embedded teacher: writes each style from the task's own worked solution. Needs no key and no network."""

    kind: Literal["worked_solution"] = "worked_solution"
    name: Name = "worked_solution"
    wrong_rate: Fraction = 0.15
    """Share of paths that end in a wrong answer."""
    spurious_rate: Fraction = 0.10
    """Share of paths whose answer is right but one of whose steps is false."""

    @model_validator(mode="after")
    def _rates_are_shares_of_one_whole(self) -> WorkedSolutionTeacherConfig:
        if self.wrong_rate + self.spurious_rate > 1:
            raise ValueError(
                f"wrong_rate {self.wrong_rate} and spurious_rate {self.spurious_rate} add up to more than 1; lower one of them"
            )
        return self


class ReplayTeacherConfig(_Model):
    """A recorded teacher: reads paths from a JSONL file with fields id (of the question), style, response."""

    kind: Literal["replay"] = "replay"
    name: Name = "replay"
    path: str
    columns: dict[str, str] = {}
    """Maps our field names (id, style, response, sample) to the file's, where they differ."""


TeacherConfig = Annotated[
    WorkedSolutionTeacherConfig | ReplayTeacherConfig | CassetteTeacherConfig | OpenAICompatibleTeacherConfig,
    Field(discriminator="kind"),
]


class GenerateConfig(_Model):
    """The grid of reasoning paths: every question x teacher x style x sample."""

    teachers: tuple[TeacherConfig, ...] = Field((WorkedSolutionTeacherConfig(),), min_length=1)
    styles: tuple[str, ...] = Field(STYLES, min_length=1)
    """Prompt styles, see `qrdistill ls styles`."""
    custom_styles: tuple[StyleConfig, ...] = ()
    """Styles of your own, to be named under `styles`."""
    samples: int = Field(1, ge=1, le=64)
    """Paths per question, teacher and style."""
    resample_rounds: int = Field(0, ge=0, le=16)
    """Rounds of one more sample per teacher and style for questions that have no path with a right answer yet."""

    @model_validator(mode="after")
    def _names_differ(self) -> GenerateConfig:
        names = [teacher.name for teacher in self.teachers]
        if len(set(names)) < len(names):
            raise ValueError("teacher names must differ: give each a `name`")
        if len(set(self.styles)) < len(self.styles):
            raise ValueError("styles must differ: one stands twice")
        own = [style.name for style in self.custom_styles]
        if taken := sorted({name for name in own if own.count(name) > 1 or name in (*STYLES, *STREAM_STYLES)}):
            raise ValueError(f"custom_styles: the name {taken[0]!r} is taken; choose another")
        return self


class StepCheckerConfig(_Model):
    """A judge that re-computes every arithmetic statement, fact and program of a path. Costs nothing."""

    kind: Literal["step_checker"] = "step_checker"


class NoJudgeConfig(_Model):
    """No judge: a right answer is enough (the ablation "without judge")."""

    kind: Literal["none"] = "none"


JudgeConfig = Annotated[StepCheckerConfig | NoJudgeConfig | LLMJudgeConfig, Field(discriminator="kind")]


class FilterConfig(_Model):
    """Which paths may be trained on."""

    check_answers: bool = True
    """Keep a path only if its final answer matches the gold answer; false is the ablation "without filter"."""
    judge: JudgeConfig = StepCheckerConfig()
    allow_leaks: bool = False
    """Also train on questions and paths that give a test question away: only to measure what a leak is worth."""


# --- students ------------------------------------------------------------------------------------------------------------


class HubSource(_Model):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    id: str
    revision: str = "main"
    """A commit hash pins the weights."""


class FolderSource(_Model):
    """A local folder in Hugging Face format (model and tokenizer)."""

    kind: Literal["folder"] = "folder"
    path: str


class PackageSource(_Model):
    """One of the pretrained models that can be installed as an ordinary Python package; converted once into a cache."""

    kind: Literal["package"] = "package"
    id: Literal["smollm2-135m-instruct", "gemma3-270m"]


class TinySource(_Model):
    """A two-layer model with random weights and a character tokenizer: for tests only."""

    kind: Literal["tiny"] = "tiny"
    architecture: Literal["llama", "gemma3", "gpt_neox", "qwen2"] = "llama"
    seed: int = 0


StudentSource = Annotated[HubSource | FolderSource | PackageSource | TinySource, Field(discriminator="kind")]


class LoraConfig(_Model):
    """Low-rank adapters (Hu et al., 2021) on the named linear layers."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, le=1024)
    alpha: float = Field(32.0, gt=0)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    quantization: Literal["none", "nf4"] = "none"
    """Of the frozen base: `nf4` keeps its linear layers in 4 bits (QLoRA; extra `qlora`)."""


class FullConfig(_Model):
    """Full fine-tuning: every weight is trained."""

    kind: Literal["full"] = "full"


class FrozenConfig(_Model):
    """Nothing is trained: the student only serves as a peer."""

    kind: Literal["frozen"] = "frozen"


AdapterConfig = Annotated[LoraConfig | FullConfig | FrozenConfig, Field(discriminator="kind")]


class StudentConfig(_Model):
    """One student of the team."""

    name: Name
    source: StudentSource
    adapter: AdapterConfig = LoraConfig()
    learning_rate: float = Field(4e-4, gt=0, le=1)
    """Peak learning rate of this student's AdamW."""
    max_length: int = Field(1024, ge=16)
    """Tokens of prompt plus path; a longer path is refused, never cut (its answer would be lost)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights. `auto`: bfloat16 on a GPU, where full fine-tuning keeps float32 weights and computes in bfloat16; float32
    on a CPU (bfloat16 is many times slower there)."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """`auto`: the tokenizer's chat template where it has one, else a plain question / answer layout."""


# --- training -----------------------------------------------------------------------------------------------------------


class ValidationConfig(_Model):
    """Accuracy on validation questions beside the training: it says which checkpoint is the best."""

    every_steps: int = Field(0, ge=0)
    """Every so many steps, and after the last, students answer validation questions with the plain prompt; 0: never."""
    num_questions: int = Field(16, ge=1)
    """At most so many questions, the same ones every time."""
    max_new_tokens: int = Field(160, ge=1)
    keep: Literal["last", "best"] = "last"
    """The students a training ends with: those of the last step, or those whose mean accuracy was best (the first of equals)."""


class TrainingConfig(_Model):
    """The joint training loop."""

    epochs: int = Field(1, ge=1)
    questions_per_step: int = Field(4, ge=1)
    """Questions whose paths form one optimizer step."""
    warmup_frac: Fraction = 0.1
    """Share of the steps in which learning rates rise linearly; then they fall to `final_lr_frac` by a cosine."""
    final_lr_frac: Fraction = 0.1
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_label_tokens: int = Field(0, ge=0)
    """Train until every student has trained on this many label tokens, however many epochs that takes (`epochs` is then not
    read), each with its own learning rate schedule; 0: `epochs` decides. Makes arms of a study comparable."""
    question_frac: float = Field(1.0, gt=0, le=1)
    """Share of the training questions that are trained on, chosen by hash: a smaller share is part of a larger one."""
    checkpoint_steps: int = Field(20, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    validation: ValidationConfig = ValidationConfig()


# --- evaluation, report, machine -----------------------------------------------------------------------------------------


class EvaluationConfig(_Model):
    """Greedy decoding on the test questions with the plain prompt."""

    max_new_tokens: int = Field(160, ge=1)
    batch_size: int = Field(32, ge=1)
    is_zero_shot: bool = True
    """Also score every student before training."""


class ReportConfig(_Model):
    """What the report shows."""

    num_sample_questions: int = Field(12, ge=0)


class RuntimeConfig(_Model):
    """The machine. Nothing here changes results beyond floating-point order, so it is not part of any fingerprint."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0)
    """CPU threads in all; 0: the number of cores."""
    sharding: Literal["none", "fsdp"] = "none"
    """With several ranks (torchrun): whether each holds whole students, or pieces of their decoder layers (FSDP2), for students
    that one GPU cannot hold."""
    activations: Literal["keep", "recompute"] = "keep"
    """What training keeps of a forward pass: everything, or the inputs of the decoder layers, which are then computed once more
    in the backward pass (gradient checkpointing): much less memory, about a third more time."""
    memory_gb: float = Field(0.0, ge=0)
    """Memory that training may take, of the GPU where there is one; 0: what is free. Less than a step needs at once makes it work
    in smaller pieces, less than it needs at all is refused before training."""
    engine: Literal["local", "ray"] = "local"
    """Who calls paid teachers and judges and checks answers: this process, or Ray actors (extra `ray`), also on many machines."""
    workers: int = Field(2, ge=1, le=1024)
    """Ray actors per teacher or judge; limits are for all of them together."""
    trackers: tuple[Literal["tensorboard", "trackio", "wandb", "mlflow"], ...] = ()
    """Who gets a copy of each line of metrics.jsonl (an extra each); accounts and addresses are their own."""


class Config(_Model):
    """A whole recipe."""

    name: Name
    seed: int = Field(0, ge=0)
    questions: QuestionsConfig
    generate: GenerateConfig = GenerateConfig()
    filter: FilterConfig = FilterConfig()
    students: tuple[StudentConfig, ...] = Field(min_length=1, max_length=16)
    method: MethodConfig = MethodConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    report: ReportConfig = ReportConfig()
    budget: BudgetConfig = BudgetConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [student.name for student in self.students]
        if len(set(names)) < len(names):
            raise ValueError("student names must differ")
        return self

    @model_validator(mode="after")
    def _the_last_phase_is_kept(self) -> Config:
        final = [extra.kind for extra in self.method.extras if extra.kind in PREFERENCES]
        if final and self.training.validation.keep == "best":
            raise ValueError(
                f"training.validation.keep is 'best', which would undo the final {final[0]} phase of method.extras; "
                "set it to 'last' or leave the phase out"
            )
        return self
