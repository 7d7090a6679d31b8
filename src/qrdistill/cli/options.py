"""The options every verb shares, and how they become a config or a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qrdistill.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from qrdistill.cli.output import Session
    from qrdistill.config import Config
    from qrdistill.store import Run

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file (.yaml).")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
RunOrRecipe = Annotated[str, typer.Argument(metavar="RUN|RECIPE", help="A run folder, or a recipe file (.yaml).")]
Out = Annotated[str, typer.Option("-o", "--out", metavar="PATH", help="Where to write; a run folder for most verbs.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Replaces the recipe's seed.", show_default=False)]
Set = Annotated[list[str], typer.Option("--set", metavar="a.b=c", help="Change one setting; may be repeated.")]
Update = Annotated[bool, typer.Option("--update", help="Accept a changed config: stages that depend on the change run again.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def is_recipe(argument: str) -> bool:
    """Whether an argument names a recipe file rather than a run folder."""
    return Path(argument).suffix in (".yaml", ".yml")


def read_recipe(path: str, *, overrides: Sequence[str], seed: int | None) -> Config:
    """Read and validate a recipe with its overrides."""
    from qrdistill.config import load_recipe

    if Path(path).is_dir():
        raise ConfigError(f"{path} is a folder; give a recipe file (.yaml), see: qrdistill ls recipes")
    return load_recipe(path, overrides=overrides, seed=-1 if seed is None else seed)


def open_run(
    session: Session,
    argument: str,
    *,
    out: str = "",
    overrides: Sequence[str] = (),
    seed: int | None = None,
    is_update: bool = False,
) -> Run:
    """Open the run an argument names: a folder, or a recipe with the folder it belongs to."""
    from qrdistill.store import Run

    if is_recipe(argument):
        recipe = read_recipe(argument, overrides=overrides, seed=seed)
        config: Config | None = recipe
        folder = Path(out or default_folder(recipe))
    else:
        if out and Path(out) != Path(argument):
            raise UsageError(f"-o {out} does not go with the run folder {argument}; give one of them, or a recipe with -o")
        folder = Path(argument)
        saved = folder / "config.yaml"
        has_changes = bool(overrides) or seed is not None
        config = read_recipe(str(saved), overrides=overrides, seed=seed) if has_changes and saved.is_file() else None
    run = Run(folder, config, is_update=is_update)
    session.folder = folder
    return run


def default_folder(config: Config) -> Path:
    """Where a recipe runs when -o is not given: one folder a name and seed."""
    return Path("runs") / f"{config.name}-{config.seed}"


def as_typed(recipe: str, *, overrides: Sequence[str], seed: int | None) -> str:
    """A recipe with its changes, as they would be typed again."""
    changes = [part for assignment in overrides for part in ("--set", assignment)]
    return shlex.join([recipe, *changes, *(["--seed", str(seed)] if seed is not None else [])])
