"""The named methods `paper` and `released` as whole trainings, and what the released code's peers do."""

import pytest
import torch
from tests.training.test_resume import whole_and_resumed
from tests.training.test_step import first_steps

from qrdistill.config import METHODS
from qrdistill.training.meeting import meet, meet_by_index
from qrdistill.training.step import read
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, remaining_work
from qrdistill.types import Question


def settings(name: str) -> dict:
    method = METHODS[name].model_dump()
    if "encoder" in method["policy"]:
        method["policy"]["encoder"] = {"kind": "ngram", "dim": 32}
    method["peers"]["max_paths"] = 8
    return {"method": method}


@pytest.mark.parametrize("name", ["paper", "released"])
def test_named_methods_train_and_resume_to_the_bit(toy_run, monkeypatch, name):
    training = {"questions_per_step": 2, "checkpoint_steps": 1, "epochs": 2}
    left, right = whole_and_resumed(toy_run, monkeypatch, steps=3, training=training, **settings(name))
    assert left[0] == right[0]
    assert left[2] == right[2]


def test_paper_moves_router_projections_and_heads_and_released_none_of_them(toy_run):
    for name in ("paper", "released"):
        run = toy_run(**settings(name))
        fresh = build_trainer(run, load_team(run.config), None)
        _, trainer, _ = first_steps(run, num_steps=2)
        has_moved = {
            part: not torch.equal(old, new)
            for part, old, new in [
                ("router", fresh.method.policy.router.outer.weight, trainer.method.policy.router.outer.weight),
                ("projection", fresh.method.peers.project_SDJ[0], trainer.method.peers.project_SDJ[0]),
                ("head", fresh.method.peers.head_SJ, trainer.method.peers.head_SJ),
            ]
        }
        assert has_moved == dict.fromkeys(("router", "projection", "head"), name == "paper")


def test_feature_peers_give_the_students_the_gradient_of_the_loss(toy_run):
    """Reference: autograd through the students' own forward passes."""
    from qrdistill.losses import competence, feature_loss
    from qrdistill.training.step import look

    run = toy_run(method__policy={"kind": "all"}, method__peers={"kind": "feature", "weight": 0.5, "warmup_frac": 0.0})
    students = load_team(run.config)
    trainer = build_trainer(run, students, None)
    work = next(remaining_work(trainer))
    everything = torch.ones(len(work.paths), 2, dtype=torch.bool)
    forwards = read(trainer.team, work, everything, 512)
    peers = trainer.method.peers
    meeting = peers.meet(
        work, forwards, read_PS=everything, shared_P=everything[:, 0], generator=torch.Generator().manual_seed(0)
    )
    observations = look(trainer.team, work, forwards, trainer.method, meeting)
    terms, metrics = peers.teach(meeting, observations, 0.5)
    hidden = [forward.hidden_ND.detach().requires_grad_() for forward in forwards]
    projected = [rows[meeting.row_CS[:, s]] @ peers.project_SDJ[s] for s, rows in enumerate(hidden)]
    gamma = competence(projected, peers.head_SJ, meeting.path_of_C).detach()
    loss = feature_loss(projected, gamma, target="leave_one_out", is_target_detached=True, is_normalised=True)
    wanted = torch.autograd.grad(0.5 * loss, hidden)
    for student, term in enumerate(terms):
        ours = torch.zeros_like(hidden[student])
        value = term.add_gradients(students[student], forwards[student], observations[student], ours)
        assert torch.allclose(ours, wanted[student], atol=1e-7)
        assert value == pytest.approx(loss.item() / 2)
    assert {"peer/feature_cosine", "peer/feature_cosine_shuffled", "peer/feature_norm_ratio"} <= set(metrics)
    trainer.team.close()


def test_released_positions_hold_other_text_and_padding(toy_run):
    """Negative control, METHOD section 2: by raw index two tokenizers look at different text; by offset at the same."""
    run = toy_run(**settings("released"))
    trainer = build_trainer(run, load_team(run.config), None)
    work = next(remaining_work(trainer))
    is_read = torch.ones(len(work.paths), 2, dtype=torch.bool)
    is_read[0, 1] = False
    forwards = read(trainer.team, work, is_read, 512)

    def texts(meeting) -> list[tuple[str | None, ...]]:
        found = []
        for row_S, path in zip(meeting.row_CS.tolist(), meeting.path_of_C.tolist(), strict=True):
            seen = []
            for student, row in enumerate(row_S):
                tokens = work.paths[path].tokens[student]
                place = row - int(forwards[student].start_P[path])
                seen.append(None if row < 0 else tokens.text[: tokens.response_offsets[place][0]])
            found.append(tuple(seen))
        return found

    generator = torch.Generator().manual_seed(0)
    by_text = texts(meet(work, forwards, is_read_P=is_read.all(dim=1), limit=10**6, generator=generator))
    by_index = texts(meet_by_index(work, forwards, is_read_PS=is_read))
    assert by_text
    assert all(one == other for one, other in by_text)
    both = [pair for pair in by_index if None not in pair]
    assert sum(one != other for one, other in both) > 0.5 * len(both)
    assert any(pair == (None, None) for pair in by_index), "padding of both is compared"
    assert any(pair[0] is not None and pair[1] is None for pair in by_index), "so are rows a student never read"
    trainer.team.close()


def test_released_trains_behind_style_prompts_and_the_others_behind_the_test_prompt(toy_run):
    plain, wrapped = toy_run(), toy_run(method__training_prompt="style")
    for run, is_wrapped in ((plain, False), (wrapped, True)):
        students = load_team(run.config)
        trainer = build_trainer(run, students, None)
        assert {q.split for q in run.ledger.all(Question)} >= {"train", "validation"}
        for question in trainer.train_pool:
            test_time = tuple(students[0].template.prompt_ids(question.prompt))
            different = [path.tokens[0].prompt_ids != test_time for path in question.paths]
            assert all(different) if is_wrapped else not any(different)
        for question in trainer.probe_pool:
            test_time = tuple(students[0].template.prompt_ids(question.prompt))
            assert all(path.tokens[0].prompt_ids == test_time for path in question.paths)
        trainer.team.close()
