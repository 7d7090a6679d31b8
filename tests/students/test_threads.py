"""Students are loaded and read back in threads of their own; transformers' swapped initialisers must not outlive that."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from qrdistill.config import FullConfig, StudentConfig, TinySource
from qrdistill.students import load_student


def test_loading_and_reading_back_in_threads_leaves_torch_as_it_was(tmp_path: Path):
    config = StudentConfig(name="a", source=TinySource(), adapter=FullConfig())
    student = load_student(config, seed=0)
    student.save(tmp_path / "a")
    initialisers = {name: getattr(torch.nn.init, name) for name in ("normal_", "kaiming_uniform_", "zeros_")}

    def work(number: int) -> bool:
        mine = load_student(config, seed=number)
        mine.restore(tmp_path / "a")
        return all(torch.equal(value, mine.state_dict()[name]) for name, value in student.state_dict().items())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(24)))
    assert {name: getattr(torch.nn.init, name) for name in initialisers} == initialisers
    assert not any(weight.is_meta for weight in load_student(config, seed=1).model.parameters())
