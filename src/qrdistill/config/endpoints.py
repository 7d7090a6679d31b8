"""Settings of teachers and judges behind an HTTP endpoint: where, which model, at what price, how fast.

Keys are never settings: a config names the environment variable or the file that holds one. `OPERATIONAL` names the settings
that do not change what is asked (an address, a price, a rate), so a run may go on after they change.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Preset = Literal["openai", "vllm", "llama_cpp", "ollama", "gemini", "anthropic", "custom"]

OPERATIONAL = frozenset({"base_url", "api_key_env", "key_file", "price", "limits", "mode"})
"""Settings of an endpoint that are not part of any fingerprint."""
OPERATIONAL_SECTIONS = frozenset({"runtime", "budget"})
"""Sections of a recipe that are not part of any fingerprint."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_Name = Annotated[str, Field(pattern=_NAME)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def is_operational(key: str) -> bool:
    """Whether a dotted key may change while a run is under way.

    >>> is_operational("generate.teachers.0.limits.max_concurrency"), is_operational("generate.teachers.0.model")
    (True, False)
    """
    section, *rest = key.split(".")
    return section in OPERATIONAL_SECTIONS or (section in {"generate", "filter"} and not OPERATIONAL.isdisjoint(rest))


def scientific(tree: Any, key: str) -> Any:
    """A part of a dumped config (its dotted key is `key`) without its operational settings."""
    if isinstance(tree, dict):
        return {name: scientific(node, f"{key}.{name}") for name, node in tree.items() if not is_operational(f"{key}.{name}")}
    if isinstance(tree, list):
        return [scientific(node, f"{key}.{number}") for number, node in enumerate(tree)]
    return tree


class PriceConfig(_Model):
    """What a million tokens cost, in US dollars."""

    prompt_usd_per_million: float = Field(ge=0, le=10_000)
    completion_usd_per_million: float = Field(ge=0, le=10_000)
    """Thinking tokens count as completion tokens."""


class LimitsConfig(_Model):
    """How hard an endpoint is driven. Teachers and judges with the same base_url and key share one limiter (the tightest)."""

    requests_per_minute: float = Field(0, ge=0)
    """0: no limit of ours (the server's 429 answers still slow us down)."""
    tokens_per_minute: float = Field(0, ge=0)
    """Prompt plus completion tokens, estimated before a call and corrected after it; 0: no limit of ours."""
    max_concurrency: int = Field(16, ge=1, le=4096)
    """Most calls in flight; lowered by itself while the server pushes back, then raised again."""
    max_attempts: int = Field(8, ge=1, le=100)
    """Attempts per call in one pass; a call that used them all stays a hole that the next run of the stage refills."""
    deadline_s: float = Field(180, gt=0, le=7200)
    """Longest one attempt may take in all: connecting, waiting and reading."""
    retry_after_cap_s: float = Field(300, gt=0, le=86_400)
    """Longest wait a server may ask for with Retry-After."""
    backoff_s: float = Field(1.0, gt=0, le=600)
    """First wait after a failed attempt; doubles with each one, with jitter, up to `backoff_cap_s`."""
    backoff_cap_s: float = Field(60, gt=0, le=3600)
    down_after_s: float = Field(120, gt=0, le=86_400)
    """Give an endpoint up (exit 69) when every attempt of so long a time failed to get any answer."""
    poll_s: float = Field(30, gt=0, le=3600)
    """Between two looks at a batch."""
    grace_s: float = Field(30, ge=0, le=3600)
    """After an interrupt, how long calls in flight may finish before they are cut."""


class CapabilitiesConfig(_Model):
    """What a server understands, where it differs from its preset. "preset" keeps the preset's value."""

    n: int = Field(0, ge=0, le=128)
    """Most samples per call; 0 keeps the preset's."""
    seed: bool | Literal["preset"] = "preset"
    json_schema: bool | Literal["preset"] = "preset"
    top_p: bool | Literal["preset"] = "preset"
    temperature: bool | Literal["preset"] = "preset"
    """False for models that accept only their own temperature."""
    batch: bool | Literal["preset"] = "preset"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens", "preset"] = "preset"
    model_check: bool | Literal["preset"] = "preset"
    """Whether the model named in a reply must be the one that was asked for."""


class EndpointConfig(_Model):
    """One model behind an OpenAI-compatible chat endpoint."""

    preset: Preset = "custom"
    """Fills base_url, api_key_env and capabilities for a known server; see docs/teachers.md."""
    base_url: str = ""
    """Address up to and including the version, e.g. http://localhost:8000/v1; empty: the preset's."""
    model: str = Field(min_length=1, max_length=300)
    """The model as the server names it."""
    api_key_env: str = ""
    """Environment variable that holds the key; empty: the preset's; "NONE": the server wants no key."""
    key_file: str = Field("", max_length=4096)
    """File that holds the key and nothing else, instead of a variable; it must be yours and readable by you alone (mode 0600)."""
    temperature: float = Field(0.8, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1, le=1_000_000)
    """Longest reply, thinking included; a reply that reaches it is counted as truncated and never trained on."""
    extra: dict[str, str | int | float | bool] = {}
    """Further fields of the request body, sent as they are (e.g. reasoning_effort: low)."""
    price: PriceConfig | Literal["free", "unknown"] = "unknown"
    """Needed for plans and caps in money; servers of your own are "free" by preset."""
    limits: LimitsConfig = LimitsConfig()
    capabilities: CapabilitiesConfig = CapabilitiesConfig()

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("a base_url starts with http:// or https://")
        if "@" in url.split("?")[0] or "?" in url:
            raise ValueError("a base_url holds no user, password or query: put the key into an environment variable")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        looks_like_a_key = len(name) >= 20 and any(map(str.islower, name)) and any(map(str.isdigit, name))
        if looks_like_a_key or len(name) > 100 or not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", name):
            raise ValueError(
                "api_key_env names the environment variable that holds the key; what stands there is no such name, or is the key "
                "itself (it is not shown)"
            )
        return name

    @field_validator("key_file")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if path and not path.startswith(("/", "./", "../", "~/")):
            raise ValueError("a key_file is a path that starts with /, ./, ../ or ~/ (the key itself never stands in a recipe)")
        return path

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.key_file and self.api_key_env:
            raise ValueError("api_key_env and key_file are both given; leave one of them out")
        return self

    @field_validator("extra")
    @classmethod
    def _extra_is_extra(cls, extra: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        ours = {"model", "messages", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stream"}
        if taken := sorted(ours & extra.keys()):
            raise ValueError(f"{taken[0]!r} has a setting of its own (or is not supported) and cannot stand in `extra`")
        return extra


class OpenAICompatibleTeacherConfig(EndpointConfig):
    """A teacher behind an OpenAI-compatible endpoint: OpenAI, vLLM, llama.cpp, Ollama, Gemini, Anthropic and others."""

    kind: Literal["openai_compatible"] = "openai_compatible"
    name: _Name
    weight: float = Field(1.0, gt=0, le=1)
    """Share of the grid's cells this teacher is asked for (chosen by hash, so a larger share contains a smaller one)."""
    mode: Literal["live", "batch", "files"] = "live"
    """`batch`: submit request files, poll and harvest (OpenAI's half-price batches; give the batch price). `files`: write the
    request files into the run folder and read result files that a program of yours (`vllm run-batch`) puts beside them."""


class StyleConfig(_Model):
    """A prompt style of your own; name it under `generate.styles` to use it."""

    name: _Name
    template: str = Field(min_length=1, max_length=20_000)
    """The text around a question. {question} and {answer_form} each stand in it once; it has no other place to fill."""
    why: str = Field("", max_length=300)
    """One line: what the style is for."""

    @field_validator("template")
    @classmethod
    def _has_its_places(cls, template: str) -> str:
        places = re.findall(r"\{([A-Za-z_]\w*)\}", template)
        if unknown := sorted(set(places) - {"question", "answer_form"}):
            raise ValueError(f"unknown field {{{unknown[0]}}}: a template has {{question}} and {{answer_form}} only")
        for place in ("question", "answer_form"):
            if places.count(place) != 1:
                raise ValueError(
                    f"{{{place}}} must stand in a template exactly once, but stands there {places.count(place)} times"
                )
        if places != ["question", "answer_form"]:
            raise ValueError("{question} must stand before {answer_form}")
        return template


class CassetteTeacherConfig(_Model):
    """A recorded teacher: the paths another run's ledger holds, for the same questions, styles and samples. Costs nothing."""

    kind: Literal["cassette"] = "cassette"
    name: _Name = "cassette"
    run: str = Field(min_length=1)
    """The recorded run folder; relative paths are relative to the working directory."""
    teacher: str = ""
    """Which of its teachers to replay; may be left out where it has only one."""


class JudgeEndpointConfig(EndpointConfig):
    """A judging model: greedy, short replies."""

    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(600, ge=32, le=1_000_000)


class LLMJudgeConfig(_Model):
    """One or two models that read every step of a path. A judge can only remove; unclear findings are excluded, not kept."""

    kind: Literal["llm"] = "llm"
    judges: tuple[JudgeEndpointConfig, ...] = Field(min_length=1, max_length=2)
    """With two, a path stays only if neither drops it; where they disagree it is listed."""
    min_grade: int = Field(3, ge=3, le=5)
    """Drop paths graded below this; 3 is sound with a step weakly explained, 5 is flawless."""
    top_m: int = Field(0, ge=0)
    """Keep at most so many paths per question, best grades first; 0: all."""
    control_frac: float = Field(0.04, ge=0.04, le=0.5)
    """Planted paths whose soundness is known, as a share of the judged ones (half of them bad)."""
    max_accepted_frac: float = Field(0.10, ge=0, le=1)
    """Stop the run when more than this share of the known-bad controls is accepted."""

    @field_validator("judges")
    @classmethod
    def _differ(cls, judges: tuple[JudgeEndpointConfig, ...]) -> tuple[EndpointConfig, ...]:
        if len({(judge.preset, judge.base_url, judge.model) for judge in judges}) < len(judges):
            raise ValueError("two judges must be two different models")
        return judges


class BudgetConfig(_Model):
    """Hard caps in US dollars; 0: no cap. A stage that reaches one pauses (exit 75) and goes on when the cap is raised."""

    run_usd: float = Field(0, ge=0)
    generate_usd: float = Field(0, ge=0)
    filter_usd: float = Field(0, ge=0)
    """Spent by LLM judges."""
