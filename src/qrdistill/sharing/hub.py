"""Uploading a folder to the Hugging Face hub. The token stays with the hub's own client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from qrdistill.errors import AuthError, DataError, ProviderError, UsageError

Kind = Literal["dataset", "model"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push_folder(folder: Path, repository: str, *, kind: Kind, is_public: bool = False) -> str:
    """Make the repository if it is missing (private unless told otherwise) and upload every file of the folder.

    Args:
        folder: what to upload.
        repository: OWNER/NAME.
        kind: what the hub should take it for.
        is_public: make a new repository public; one that exists is left as it is.

    Returns:
        The repository's address.

    Raises:
        UsageError: the name is no OWNER/NAME, or huggingface-hub is not installed.
        AuthError: no token, or one that may not write there.
        DataError: the hub does not accept the card.
        ProviderError: the hub is down or cannot be reached.
    """
    if not _NAME.fullmatch(repository):
        raise UsageError(f"--push {repository!r} is not of the form OWNER/NAME")
    try:
        import httpx2
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise UsageError("--push needs huggingface-hub; run: pip install 'qrdistill[train]'") from error
    if not get_token():
        raise AuthError("--push needs a Hugging Face token that may write; set HF_TOKEN, or run: hf auth login")
    client = HfApi()
    try:
        address = client.create_repo(repository, repo_type=kind, private=not is_public, exist_ok=True)
        client.upload_folder(repo_id=repository, repo_type=kind, folder_path=folder, commit_message="Upload by qrdistill")
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise AuthError(
                f"the hub refuses to write to {repository} (HTTP {status}); use a token that may write there"
            ) from error
        raise ProviderError(
            f"the hub answered HTTP {status} while uploading to {repository}; run the same command again"
        ) from error
    except ValueError as error:  # the hub's client found the card (or the name) at fault
        reason = " ".join(str(error).split())
        raise DataError(
            f"the hub does not accept README.md or the name {repository} ({reason}); mend it and upload again"
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        raise ProviderError(f"the hub cannot be reached ({type(error).__name__}); run the same command again later") from error
    return str(address)
