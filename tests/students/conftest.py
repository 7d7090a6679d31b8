"""Tiny students with adapters that matter, and packaged ones loaded once."""

from collections.abc import Callable

import pytest
import torch

from qrdistill.config import FullConfig, LoraConfig, PackageSource, StudentConfig, TinySource
from qrdistill.students import Student, load_student

ARCHITECTURES = ("llama", "gemma3", "gpt_neox", "qwen2")


def tiny_student(architecture: str = "llama", *, adapter: object = None, name: str = "", **fields: object) -> Student:
    """A tiny student whose LoRA B matrices are drawn too, so that the adapter changes what it says."""
    config = StudentConfig(
        name=name or architecture,
        source=TinySource(architecture=architecture),
        adapter=adapter or LoraConfig(rank=4),
        **fields,
    )
    student = load_student(config, seed=1)
    stir(student)
    return student


def stir(student: Student, seed: int = 0) -> None:
    """Draw LoRA B matrices."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in student.trainable():
            if "lora_B" in name:
                weight.normal_(0.0, 0.05, generator=generator)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request) -> str:
    return request.param


@pytest.fixture(params=["lora", "full"])
def any_tiny(request, architecture) -> Student:
    return tiny_student(architecture, adapter=LoraConfig(rank=4) if request.param == "lora" else FullConfig())


@pytest.fixture(scope="session")
def packaged() -> Callable[[str], Student]:
    """Loads a packaged student once for all tests."""
    loaded: dict[str, Student] = {}

    def get(name: str) -> Student:
        if name not in loaded:
            config = StudentConfig(name=name[:6], source=PackageSource(id=name), adapter=LoraConfig(rank=4))
            loaded[name] = load_student(config, seed=1)
            stir(loaded[name])
        return loaded[name]

    return get
