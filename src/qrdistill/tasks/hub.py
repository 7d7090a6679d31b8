"""Files of a repository on the Hugging Face hub: fetched once into its cache, read from there afterwards (also offline)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from qrdistill.errors import AuthError, DataError, ProviderError, UsageError


def download(repo: str, revision: str, patterns: Sequence[str], *, where: str) -> list[Path]:
    """Local copies of the files of a repository that match any of the patterns, in the order of their names.

    Args:
        repo: owner/name.
        revision: a commit hash (or a branch, which is then not pinned).
        patterns: names like data/train-*.parquet.
        where: begins the error message, e.g. "task 'gsm8k'".

    Raises:
        UsageError: huggingface_hub is not installed.
        ProviderError: the hub cannot be reached, and the files are not in its cache.
        AuthError: the repository asks for the user's consent.
        DataError: there is no such repository, revision or file.
    """
    folder = Path(_snapshot(repo, revision, tuple(patterns), where))
    found = sorted(path for path in folder.rglob("*") if path.is_file() and _matches(path.relative_to(folder), patterns))
    if not found:
        raise DataError(f"{where}: {repo} at {revision} holds no file {' or '.join(patterns)}; look at its files on the hub")
    return found


def commit_of(path: Path) -> str:
    """The commit a downloaded file is of, also where a branch was asked for: the hub's client keeps each in a folder so named."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch(path.as_posix(), pattern) for pattern in patterns)


@cache
def _snapshot(repo: str, revision: str, patterns: tuple[str, ...], where: str) -> str:
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise UsageError(f"{where}: huggingface_hub is not installed; run: pip install 'qrdistill[hub]'") from error
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # what its retries print is summed up in the error below
    try:
        return str(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=list(patterns)))
    except errors.GatedRepoError as error:
        raise AuthError(f"{where}: {repo} asks for your consent; give it on the hub and log in: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"{where}: {repo} has no revision {revision}; give a commit hash of it") from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(f"{where}: there is no data set {repo} on the hub (or it is private); check its name") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, OSError) as error:
        reason = "no connection to the hub" if isinstance(error, errors.LocalEntryNotFoundError) else type(error).__name__
        raise ProviderError(
            f"{where}: cannot download {repo} at {revision} ({reason}) and it is not in the local cache; connect to the network, "
            "or use a local copy of its files with `path`"
        ) from error
    finally:
        log.setLevel(level)
