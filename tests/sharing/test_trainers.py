"""Exported messages in TRL's own trainer."""

import warnings
from pathlib import Path

import pytest

from qrdistill.pipeline import run_pipeline
from qrdistill.sharing import write_data_set, write_students
from recipes import toy_recipe


@pytest.mark.filterwarnings("ignore")
def test_trl_trains_a_step_on_the_exported_rows(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs trl, which is not a dependency")
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    warnings.simplefilter("ignore")
    run = run_pipeline(toy_recipe(), tmp_path / "run", until="train")
    write_data_set(run, tmp_path / "data")
    write_students(run, tmp_path / "team")
    train = load_dataset(
        "json", data_files=str(tmp_path / "data" / "data" / "train.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    settings = SFTConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        max_length=512,
        report_to=[],
        save_strategy="no",
        gradient_checkpointing=False,
    )
    trainer = SFTTrainer(model=str(tmp_path / "team" / "llama"), args=settings, train_dataset=train)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    result = trainer.train()
    assert result.global_step == 1
    assert 0 < result.training_loss < 20
    assert any((weight != before[name]).any() for name, weight in trainer.model.named_parameters())
