"""What `doctor RECIPE` looks at: keys, endpoints and tokenizers that one recipe needs. Asking costs nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from qrdistill.cli.machine import Finding
from qrdistill.config import Config, FolderSource, HubSource, PackageSource, StudentConfig, TinySource
from qrdistill.errors import QRDistillError
from qrdistill.teacher.client.capabilities import NO_KEY, Target, resolve
from qrdistill.teacher.client.checks import paid_endpoints
from qrdistill.teacher.client.keys import Key
from qrdistill.teacher.client.wire import Wire

if TYPE_CHECKING:
    from qrdistill.config import EndpointConfig

_DEADLINE_S = 10.0


def examine_recipe(config: Config) -> list[Finding]:
    """Keys and endpoints of every paid teacher and judge, and every student's tokenizer."""
    found: list[Finding] = []
    for _, where, endpoint in paid_endpoints(config):
        found += _endpoint(where, endpoint)
    return found + [_tokenizer(student) for student in config.students]


def _endpoint(where: str, endpoint: EndpointConfig) -> list[Finding]:
    try:
        target = resolve(endpoint, where=where)
    except QRDistillError as error:
        return [Finding(what=where, is_ok=False, found=str(error))]
    try:
        key = Key.of(target)
    except QRDistillError as error:
        return [Finding(what=f"{where}: key", is_ok=False, found=str(error))]
    shown = "needs none" if target.api_key_env == NO_KEY else f"{target.key_file or target.api_key_env} is set"
    return [Finding(what=f"{where}: key", is_ok=True, found=shown), asyncio.run(_reach(where, target, key))]


async def _reach(where: str, target: Target, key: Key) -> Finding:
    """GET /models: reaches the server, shows whether it takes the key, and often whether it has the model."""
    what = f"{where}: endpoint"
    try:
        wire = Wire(target.base_url, key)
    except QRDistillError as error:
        return Finding(what=what, is_ok=False, found=str(error))
    try:
        reply = await wire.exchange(wire.request("GET", "/models"), deadline_s=_DEADLINE_S)
    finally:
        await wire.close()
    if reply.failure is None:
        return _models(what, target, reply.body)
    status = reply.failure.status
    if status in (401, 403):
        return Finding(what=what, is_ok=False, found=f"{target.base_url} refuses the key (HTTP {status})")
    if 400 <= status < 500 and status != 429:
        return Finding(what=what, is_ok=True, found=f"{target.base_url} answers (it does not list its models: HTTP {status})")
    return Finding(what=what, is_ok=False, found=f"{reply.failure.message} (at {target.base_url})")


def _models(what: str, target: Target, body: bytes) -> Finding:
    try:
        listed = [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Finding(what=what, is_ok=True, found=f"{target.base_url} answers")
    is_listed = any(name == target.model or name.endswith(f"/{target.model}") for name in listed)
    if is_listed or not target.capabilities.model_check:
        return Finding(what=what, is_ok=True, found=f"{target.base_url} answers")
    some = ", ".join(listed[:3]) + (" ..." if len(listed) > 3 else "")
    return Finding(what=what, is_ok=False, found=f"{target.base_url} does not list the model {target.model}; it lists {some}")


def _tokenizer(student: StudentConfig) -> Finding:
    """Whether the student's tokenizer can be used; models that are not on this machine are not downloaded."""
    what = f"student {student.name!r}: tokenizer"
    try:
        place = _place(student)
        if place is None:
            return Finding(what=what, is_ok=True, found="a tiny test model's own")
        from qrdistill.students.template import Template

        return Finding(what=what, is_ok=True, found=Template(_load(place, student), student.template, student=student.name).mode)
    except ImportError:
        return Finding(what=what, is_ok=False, found="transformers is not installed; run: pip install 'qrdistill[train]'")
    except QRDistillError as error:
        return Finding(what=what, is_ok=False, found=str(error))
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(student.source, HubSource):
            return Finding(what=what, is_ok=True, found="not on this machine yet; it is downloaded when training begins")
        return Finding(what=what, is_ok=False, found=first)


def _place(student: StudentConfig) -> str | None:
    source = student.source
    if isinstance(source, TinySource):
        return None
    if isinstance(source, FolderSource):
        return source.path
    if isinstance(source, PackageSource):
        from qrdistill.students.packages import converted

        return str(converted(source.id))
    return source.id


def _load(place: str, student: StudentConfig) -> object:
    import transformers

    revision = {"revision": student.source.revision} if isinstance(student.source, HubSource) else {}
    return transformers.AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False, **revision)
