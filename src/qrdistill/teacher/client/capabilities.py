"""What each kind of server understands. One row a server; a new server is one entry in `PRESETS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qrdistill.config.endpoints import EndpointConfig, PriceConfig
from qrdistill.errors import ConfigError

NO_KEY = "NONE"
FREE = PriceConfig(prompt_usd_per_million=0, completion_usd_per_million=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What may stand in a request and what can be relied on in a reply."""

    n: int = 1
    """Most samples one call may ask for."""
    seed: bool = False
    json_schema: bool = False
    temperature: bool = True
    top_p: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    model_check: bool = True
    """The reply names the model that was asked for, perhaps with a date behind it."""
    batch: bool = False
    """Request files can be submitted and harvested later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A known server. `why` says where its row comes from."""

    base_url: str
    api_key_env: str
    capabilities: Capabilities
    is_free: bool
    why: str


PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        capabilities=Capabilities(n=1, seed=True, json_schema=True, max_tokens_field="max_completion_tokens", batch=True),
        is_free=False,
        why="max_tokens is deprecated and refused by reasoning models; dated snapshots answer for undated names",
    ),
    "vllm": Preset(
        base_url="http://localhost:8000/v1",
        api_key_env=NO_KEY,
        capabilities=Capabilities(n=1, seed=True, json_schema=True),
        is_free=True,
        why="OpenAI-compatible server; thinking comes as reasoning_content or reasoning when a parser is set",
    ),
    "llama_cpp": Preset(
        base_url="http://localhost:8080/v1",
        api_key_env=NO_KEY,
        capabilities=Capabilities(n=1, seed=True, json_schema=True, model_check=False),
        is_free=True,
        why="serves one model under any name and answers with the file's name or alias",
    ),
    "ollama": Preset(
        base_url="http://localhost:11434/v1",
        api_key_env=NO_KEY,
        capabilities=Capabilities(n=1, seed=True, json_schema=True),
        is_free=True,
        why="loads models on demand, so the first call is slow; ignores n",
    ),
    "gemini": Preset(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        api_key_env="GEMINI_API_KEY",
        capabilities=Capabilities(n=1, seed=False, json_schema=True),
        is_free=False,
        why="compatibility endpoint; unknown fields such as seed are refused; daily and per-minute quotas both answer 429",
    ),
    "anthropic": Preset(
        base_url="https://api.anthropic.com/v1",
        api_key_env="ANTHROPIC_API_KEY",
        capabilities=Capabilities(n=1, seed=False, json_schema=False),
        is_free=False,
        why="compatibility endpoint; n must be 1, seed and response_format are ignored, temperature is at most 1",
    ),
    "custom": Preset(
        base_url="",
        api_key_env="",
        capabilities=Capabilities(),
        is_free=False,
        why="the least every OpenAI-compatible server understands; widen it under `capabilities`",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An endpoint with its preset filled in."""

    base_url: str
    model: str
    api_key_env: str
    """"NONE" when the server wants no key, "" when a file holds it."""
    key_file: str
    capabilities: Capabilities
    price: PriceConfig | None
    """None when it is not known."""

    @property
    def account(self) -> tuple[str, str]:
        """Address and place of the key: whoever shares both is counted together by the server."""
        return self.base_url, self.key_file or self.api_key_env


def resolve(config: EndpointConfig, *, where: str) -> Target:
    """Fill an endpoint's preset in.

    Raises:
        ConfigError: neither the preset nor the config says where the server is or what holds its key.
    """
    preset = PRESETS[config.preset]
    base_url = config.base_url or preset.base_url
    key_env = "" if config.key_file else config.api_key_env or preset.api_key_env
    if not base_url:
        raise ConfigError(f"{where}: base_url is missing; give the server's address, e.g. http://localhost:8000/v1")
    if not key_env and not config.key_file:
        raise ConfigError(
            f"{where}: api_key_env is missing; name the environment variable that holds the key (or a file of yours as "
            f'key_file), or "{NO_KEY}" if there is none'
        )
    overrides = {
        name: value for name, value in config.capabilities.model_dump().items() if value != "preset" and (name != "n" or value)
    }
    price = config.price
    if price == "free" or (price == "unknown" and preset.is_free):
        price = FREE
    return Target(
        base_url=base_url,
        model=config.model,
        api_key_env=key_env,
        key_file=config.key_file,
        capabilities=dataclasses.replace(preset.capabilities, **overrides),
        price=price if isinstance(price, PriceConfig) else None,
    )
