"""Recipes: reading YAML, applying overrides, explaining what does not fit, hashing and comparing configs.

A recipe is a whole YAML file (no inheritance). `load_recipe` reads it, applies `--set a.b=c` overrides and validates.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from qrdistill.config.tree import Config
from qrdistill.errors import ConfigError, suggest


class _RecipeLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 floats (1e-4 is a number) that refuses duplicate keys."""


def _construct_mapping(loader: _RecipeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float):
            raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be plain text, found a {type(key).__name__}")
        if key in seen:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: the key {key!r} stands twice; keep one of them")
        seen.add(key)
    return dict(loader.construct_pairs(node, deep=True))


_RecipeLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def parse_yaml(text: str) -> Any:
    """Parse YAML with 1.2 floats, refusing duplicate keys.

    Raises:
        ConfigError: the text is not YAML (the line is named).
    """
    try:
        return yaml.load(text, Loader=_RecipeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"line {line}: not valid YAML ({error.problem}); mend that line") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError("not a recipe: it is nested too deeply") from error


def load_recipe(path: str | Path, *, overrides: Sequence[str] = (), seed: int = -1) -> Config:
    """Read a recipe file, apply `a.b=c` overrides and a seed, and validate.

    Args:
        path: a YAML file with the whole recipe.
        overrides: dotted assignments; the value is read as YAML; list items are addressed by number (students.0.name=x).
        seed: replaces the recipe's seed when not negative.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value does not fit (each is named).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no recipe {path}; give the path of a YAML file (see: qrdistill ls recipes)") from error
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}; give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); give the path of a YAML file") from error
    try:
        tree = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds {type(tree).__name__}, expected a mapping with name, questions and students")
    for assignment in overrides:
        _assign(tree, assignment)
    if seed >= 0:
        tree["seed"] = seed
    return validate(tree, where=str(path))


def _assign(tree: dict[str, Any], assignment: str) -> None:
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"--set {assignment!r} is not of the form a.b=value")
    *parents, last = dotted.strip().split(".")
    node: Any = tree
    for part in parents:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise ConfigError(f"--set {assignment!r}: {part!r} does not exist in the recipe")
    try:
        value = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"--set {assignment!r}: {error}") from error
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"--set {assignment!r}: {last!r} does not exist in the recipe")


def validate(tree: Mapping[str, Any], *, where: str = "the recipe") -> Config:
    """Check a plain tree against the schema.

    Raises:
        ConfigError: names every key or value that does not fit, with the closest known key for a misspelt one.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(_explain(problem, tree) for problem in _causes(error.errors()))
        raise ConfigError(f"{where}: {problems}") from error


def _causes(problems: Sequence[Any]) -> list[Any]:
    """Problems but for those that follow from others, so that one cause is told once.

    A list loses the entries that do not fit, and is then too short. Where a word or a mapping will do ("price: free"), a wrong
    mapping is no word either, and a wrong word no mapping.
    """
    inside = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    words = {problem["loc"][:-1] for problem in problems if problem["type"] == "literal_error"}

    def follows(problem: Any) -> bool:
        *place, member = problem["loc"] or ("",)
        if problem["type"] == "too_short":
            return problem["loc"] in inside
        if problem["type"] == "model_type":
            return tuple(place) in words and member == problem["ctx"]["class_name"]
        return problem["type"] == "literal_error" and str(member).startswith("literal[") and isinstance(problem["input"], Mapping)

    return [problem for problem in problems if not follows(problem)]


def _explain(problem: Any, tree: Mapping[str, Any]) -> str:
    location = _location(problem["loc"], tree, is_missing=problem["type"] == "missing")
    here = f"{location}: " if location else ""  # "" is the recipe itself, which the sentence begins with
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        return f"unknown key {location!r}{suggest(name, sorted(_field_names(Config) - {name}))}"
    if problem["type"] == "missing":
        return f"the key {location!r} is missing"
    if problem["type"] == "union_tag_invalid":
        tag, expected = str(problem["ctx"]["tag"]), str(problem["ctx"]["expected_tags"])
        hint = suggest(tag, [name.strip(" '") for name in expected.split(",")])
        return f"{location}: unknown kind {tag!r}{hint}, expected one of {expected}"
    if problem["type"] == "union_tag_not_found":
        return f"{location}: the key 'kind' is missing"
    if problem["type"] == "value_error":  # a validator of ours: already a sentence
        return f"{here}{problem['ctx']['error']}"
    found = problem["input"]
    if problem["type"] == "too_short":
        least = problem["ctx"]["min_length"]
        return f"{location}: found {len(found)} entries, expected at least {least}; add what is missing"
    if isinstance(found, Mapping | list | tuple):  # what stands inside may be a pasted key
        return f"{here}{problem['msg']} (found {len(found)} entries)"
    return f"{here}{problem['msg']} (found {found!r:.80})"


def _location(parts: tuple[int | str, ...], tree: Any, *, is_missing: bool) -> str:
    """Where in the recipe a problem is; pydantic's names of union members, which stand in no recipe, are left out."""
    shown = []
    for position, part in enumerate(parts):
        is_inside = (isinstance(tree, Mapping) and part in tree) or (isinstance(tree, list | tuple) and isinstance(part, int))
        if is_inside:
            tree = tree[part] if not isinstance(tree, list | tuple) or int(part) < len(tree) else None
        if is_inside or (is_missing and position == len(parts) - 1):
            shown.append(str(part))
    return ".".join(shown)


def _field_names(model: type[BaseModel]) -> set[str]:
    names: set[str] = set()
    for definition in [model.model_json_schema(), *model.model_json_schema().get("$defs", {}).values()]:
        names.update(definition.get("properties", {}))
    return names


def dump(config: Config) -> str:
    """The config as YAML, every field written out; `load_recipe` of it gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def json_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors and agents."""
    return Config.model_json_schema()


def content_hash(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of a value's canonical JSON (sorted keys, no spaces).

    >>> content_hash({"b": 1, "a": 2}) == content_hash({"a": 2, "b": 1})
    True
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def differences(old: Config, new: Config) -> list[str]:
    """Every leaf that differs between two configs, as "a.b: old -> new"."""
    before, after = _leaves(old.model_dump(mode="json")), _leaves(new.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key, 'absent')!s} -> {after.get(key, 'absent')!s}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(node, dict) and node:
        items: Any = node.items()
    elif isinstance(node, list) and node:
        items = enumerate(node)
    else:
        return {prefix: node}
    return {
        path: leaf for key, child in items for path, leaf in _leaves(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }
