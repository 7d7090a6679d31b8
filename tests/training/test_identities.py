"""Identities of the joint step: padding and prompts have no say, and the order of the students is only an order."""

import pytest
import torch
from tests.training.test_step import first_steps, weights

from qrdistill.losses import token_weights
from qrdistill.training.forward import backward
from qrdistill.training.step import look, read
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, remaining_work


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("junk", [-100, 7])
def test_loss_and_gradients_are_those_of_a_padded_batch_whatever_stands_at_prompts_and_padding(toy_run, side, junk):
    """Reference: the usual padded batch with -100 at prompt and padding; `junk` is the token that padding is filled with."""
    run = toy_run(method__policy={"kind": "all"}, method__peers={"weight": 0.0})
    students = load_team(run.config)
    trainer = build_trainer(run, students, None)
    work = next(remaining_work(trainer))
    everything = torch.ones(len(work.paths), 2, dtype=torch.bool)
    forwards = read(trainer.team, work, everything, 256)
    seen = look(trainer.team, work, forwards, trainer.method, None)
    for index, student in enumerate(students):
        rows = [path.tokens[index] for path in work.paths]
        assert len(forwards[index].label_N) == sum(len(row.response_ids) for row in rows)
        assert all(row.response_ids[-1] == student.template.end_id for row in rows)
        longest = max(row.num_tokens for row in rows)
        fill = student.tokenizer.pad_token_id if junk == -100 else junk
        ids, labels, mask = [], [], []
        for row in rows:
            empty = longest - row.num_tokens
            real = [*row.prompt_ids, *row.response_ids]
            gold = [-100] * len(row.prompt_ids) + list(row.response_ids)
            pads = ([fill] * empty, [-100] * empty, [0] * empty)
            parts = [
                (pad + kept) if side == "left" else (kept + pad)
                for pad, kept in zip(pads, (real, gold, [1] * len(real)), strict=True)
            ]
            ids.append(parts[0])
            labels.append(parts[1])
            mask.append(parts[2])
        mask_BT = torch.tensor(mask)
        positions = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
        logits = student.model(input_ids=torch.tensor(ids), attention_mask=mask_BT, position_ids=positions).logits[:, :-1]
        reference = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(labels)[:, 1:].flatten())
        reference.backward()
        wanted = {name: weight.grad.clone() for name, weight in student.trainable()}
        for _, weight in student.trainable():
            weight.grad = None
        weight_N = token_weights(torch.ones(len(rows)), forwards[index].path_of_N)
        loss = backward(student, forwards[index], seen[index], weight_N, None)["sft"]
        assert loss == pytest.approx(reference.item(), abs=1e-4)
        for name, weight in student.trainable():
            assert torch.allclose(weight.grad, wanted[name], atol=2e-5, rtol=1e-3), name
    trainer.team.close()


@pytest.mark.parametrize("peers", [{"kind": "text", "weight": 0.3, "warmup_frac": 0.0, "ramp": "constant"}, {"weight": 0.0}])
def test_permuting_the_students_permutes_the_results(toy_run, peers):
    policy = {"kind": "all"}
    team = toy_run(method__policy=policy, method__peers=peers)
    turned_around = [student.model_dump() for student in reversed(team.config.students)]
    other = toy_run(method__policy=policy, method__peers=peers, students=turned_around)
    here, _, one = first_steps(team, num_steps=2)
    there, _, two = first_steps(other, num_steps=2)
    assert [student.name for student in here] == [student.name for student in reversed(there)]
    for student, twin in zip(here, reversed(there), strict=True):
        for name, value in weights(student).items():
            assert torch.allclose(value, weights(twin)[name], atol=1e-6), name
    assert one[1].label_tokens == tuple(reversed(two[1].label_tokens))
