"""Optional stages: each finds what is planted for it, resumes to the bit, and changes nothing while it is off."""

import dataclasses

import pytest
import torch
from tests.training.test_resume import Cut, outcome, whole_and_resumed

from qrdistill.config import OWN_STYLE, OwnSamplesConfig
from qrdistill.errors import ConfigError, DataError
from qrdistill.losses.preference import dpo_loss, orpo_loss
from qrdistill.routing.policy import step_generator
from qrdistill.store import Run
from qrdistill.students import Decoded
from qrdistill.teacher.streams import Asked
from qrdistill.training import loop
from qrdistill.training.extras import EXTRAS, own_samples, pass_rate, sampling
from qrdistill.training.extras.preference import find_rivals
from qrdistill.training.extras.sampling import Sample
from qrdistill.training.pool import StepWork, pool_path, step_work
from qrdistill.training.reference import losses_per_token
from qrdistill.training.step import joint_step
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, embed, knobs
from qrdistill.types import FilterDecision, Question, ReasoningPath

TRAINING = {"questions_per_step": 2, "checkpoint_steps": 1, "epochs": 2}
PLAIN = {"policy": {"kind": "all"}, "peers": {"weight": 0.0}}
FAST = {"max_new_tokens": 12}
SETTINGS = {
    "own_samples": {"samples": 1, **FAST},
    "pass_rate": {"samples": 2, **FAST},
    "orpo": {"weight": 1.0, "learning_rate_frac": 1.0},
    "dpo": {"beta": 0.2, "learning_rate_frac": 1.0},
}


def extra(kind: str, **more: object) -> dict:
    return {"kind": kind, **SETTINGS[kind], **more}


def trainer_of(run: Run):
    return build_trainer(run, load_team(run.config), None)


def plant_wrong_paths(run: Run, style: str = "cot") -> None:
    """Beside the kept paths of every question a wrong one in the same words that says so by the word "perhaps"."""
    kept = {decision.path_id for decision in run.ledger.all(FilterDecision, "is_kept = 1")}
    paths = [path for path in run.ledger.all(ReasoningPath) if path.id in kept]
    one_each = list({path.question_id: path for path in paths}.values())
    wrong = [dataclasses.replace(p, id=f"wrong-{p.id}", text=f"perhaps perhaps {p.text}") for p in one_each]
    with run.owned():
        run.ledger.delete(FilterDecision, "reason = 'differ'")
        run.ledger.add(wrong)
        run.ledger.add(
            FilterDecision(path_id=p.id, question_id=p.question_id, style=p.style, is_kept=False, reason="differ") for p in wrong
        )


# --- all of them -----------------------------------------------------------------------------------------------------------


def test_every_kind_is_off_by_default_and_what_is_off_leaves_no_trace(toy_run):
    run = toy_run()
    assert run.config.method.extras == ()
    assert set(SETTINGS) == set(EXTRAS)
    on = toy_run(method={"extras": [extra("pass_rate")]})
    assert on.fingerprint("filter") == run.fingerprint("filter")
    assert on.fingerprint("train") != run.fingerprint("train")
    trainer = trainer_of(run)
    assert trainer.extras == []
    trainer.team.close()


@pytest.mark.parametrize("kind", ["own_samples", "pass_rate"])
def test_a_stage_that_samples_resumes_to_the_bit(toy_run, monkeypatch, kind):
    plant_answers(monkeypatch)
    method = {"policy": {"kind": "random", "budget": 2}, "peers": {"weight": 0.0}, "extras": [extra(kind, every_steps=1)]}
    left, right = whole_and_resumed(toy_run, monkeypatch, steps=3, training=TRAINING, method=method)
    assert left[0] == right[0]
    assert repr(left[1]) == repr(right[1])
    assert left[2] == right[2]
    assert any(name.startswith("pool/") and value > 0 for line in left[2] for name, value in line.items())


@pytest.mark.parametrize("kind", ["orpo", "dpo"])
@pytest.mark.parametrize("budget", [0, 3000])
def test_a_final_phase_resumes_to_the_bit_and_ends_at_the_token_budget(toy_run, monkeypatch, kind, budget):
    method = {**PLAIN, "extras": [extra(kind, token_frac=0.5)]}
    runs = [toy_run(training=TRAINING | {"max_label_tokens": budget, "epochs": 1}, method=method) for _ in range(2)]
    for run in runs:
        plant_wrong_paths(run)
    loop.train(runs[0])
    real, done = loop.record_line, []

    def record_line(trainer, line, log):
        real(trainer, line, log)
        if f"preference/loss/{trainer.team.students[0].name}" in line:
            done.append(line)
            if len(done) == 2:
                raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(loop, "record_line", record_line)
        with pytest.raises(Cut):
            loop.train(runs[1])
    loop.train(Run(runs[1].folder))
    left, right = (outcome(Run(run.folder)) for run in runs)
    assert left[0] == right[0]
    assert left[2] == right[2]
    lines = [line for line in left[2] if "preference/loss/llama" in line]
    assert len(lines) >= 2
    if budget:
        longest = runs[0].config.students[0].max_length
        for name, used in Run(runs[0].folder).summary("train")["label_tokens"].items():
            assert budget <= used < budget + longest, name
        first = next(line for line in left[2] if "preference/loss/llama" in line)
        assert first["step"] > 1
        assert first["train/label_tokens/llama"] > 0.5 * budget  # the ordinary training had its share first


def test_what_does_not_go_together_is_a_sentence(toy_run):
    with pytest.raises(ConfigError, match="'pass_rate' stands twice; list it once"):
        toy_run(method={"extras": [extra("pass_rate"), extra("pass_rate")]})
    with pytest.raises(ConfigError, match="two forms of the same final epoch"):
        toy_run(method={"extras": [extra("orpo"), extra("dpo")]})
    run = toy_run(training=TRAINING, method={**PLAIN, "extras": [extra("orpo")]})
    with run.owned():
        run.ledger.delete(FilterDecision, "reason = 'differ'")
    with pytest.raises(DataError, match="orpo needs questions with a right and a wrong path, and none has both"):
        loop.train(run)


# --- own samples -----------------------------------------------------------------------------------------------------------


def plant_answers(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Students answer what is planted instead of what they would say, in turn; GOLD stands for the right answer."""
    planted = answers or ("I count and count. The answer is GOLD.", "I count again. The answer is 12345.")
    golds: dict[str, str] = {}
    real = sampling.sample_answers

    def decode(student, prompts, *, seeds, **options):
        said = [planted[number % len(planted)].replace("GOLD", golds[prompt]) for number, prompt in enumerate(prompts)]
        return [Decoded(text=text, num_tokens=5, finish="length" if "..." in text else "stop") for text in said]

    def sample_answers(trainer, config):
        golds.update({question.prompt: question.question.gold for question in trainer.train_pool})
        return real(trainer, config)

    monkeypatch.setattr(sampling, "decode", decode)
    for module in (pass_rate, own_samples):
        monkeypatch.setattr(module, "sample_answers", sample_answers)


ANSWERS = (
    "First I look. The answer is GOLD.",
    "Then I guess. The answer is 12345.",
    "It may be GOLD, or another.",
    "The answer is GOLD. And so on ...",
)


def test_only_right_and_finished_answers_enter_the_pool_and_they_are_trained_on(toy_run, monkeypatch):
    plant_answers(monkeypatch, *ANSWERS)
    run = toy_run(training=TRAINING, method={**PLAIN, "extras": [extra("own_samples", samples=4, keep=3)]})
    trainer = trainer_of(run)
    before = [question.paths for question in trainer.train_pool]
    trainer.step = trainer.steps_per_epoch
    for stage in trainer.extras:
        stage.before_step(trainer)
    for question, old in zip(trainer.train_pool, before, strict=True):
        own = [path.path for path in question.paths if path.path.style == OWN_STYLE]  # once, though both students say it
        assert [path.text for path in own] == [f"First I look. The answer is {question.question.gold}."]
        assert question.paths[: len(old)] == old
    trainer.team.close()
    loop.train(run)
    line = outcome(run)[2][-1]
    assert line["routing/rate/llama/own"] == 1.0
    assert sum(line[f"pool/own_samples/{name}"] for name in ("llama", "gemma3")) == len(before)
    assert (run.exports / "own_samples.jsonl").read_text().count("First I look") == len(before)


def test_students_learn_what_they_said_themselves_only_if_it_may_enter(toy_run, monkeypatch):
    """Planted: an answer in words no teacher uses. It gets much likelier if it is right, and not if it is wrong."""
    said = "Zebras hop over quiet xylophones. The answer is {}."
    table = {style: ["llama", "gemma3"] for style in ("cot", OWN_STYLE)}
    method = {"policy": {"kind": "by_style", "table": table}, "peers": {"weight": 0.0}, "extras": [extra("own_samples")]}
    losses = {}
    for answer in ("GOLD", "12345"):
        plant_answers(monkeypatch, said.format(answer))
        run = toy_run(training=TRAINING | {"epochs": 6}, method=method)
        students = loop.train(run)
        trainer = build_trainer(run, students, None)
        question = trainer.train_pool[0]
        text = said.format(question.question.gold)
        path = ReasoningPath(id="x", question_id="q", teacher="t", style=OWN_STYLE, sample=0, text=text)
        pooled = pool_path(students, Asked(question=question.question, path=path, prompt=question.prompt), 1.0, None)
        work = step_work([dataclasses.replace(question, paths=(pooled,))])
        losses[answer] = losses_per_token(trainer.team, trainer.method, work)[0]
        trainer.team.close()
    assert (losses["GOLD"] < 0.9 * losses["12345"]).all(), losses


def test_answers_of_real_students_are_drawn_and_checked_the_same_every_time(toy_run):
    run = toy_run(training=TRAINING, method={**PLAIN, "extras": [extra("own_samples")]})
    trainer = trainer_of(run)
    config = OwnSamplesConfig(samples=2, max_new_tokens=10, temperature=1.5)
    first, second = (sampling.sample_answers(trainer, config) for _ in range(2))
    assert first == second
    assert len(first) == 2 * 2 * len(trainer.train_pool)
    by_question: dict[tuple[int, int], set[str]] = {}
    for sample in first:
        by_question.setdefault((sample.question, sample.student), set()).add(sample.text)
    assert sum(len(texts) == 2 for texts in by_question.values()) > len(by_question) / 2, "draws differ from one another"
    trainer.step = 3
    assert sampling.sample_answers(trainer, config) != first
    some = sampling.sample_answers(trainer, config.model_copy(update={"questions": 2}))
    assert len({sample.question for sample in some}) == 2
    trainer.team.close()


# --- pass rates --------------------------------------------------------------------------------------------------------------


def test_weights_are_p_times_one_minus_p_and_a_late_check_counts_for_nothing():
    verdicts = {0: ["match", "differ", "match", "differ"], 1: ["match"] * 4, 2: ["differ", "timeout", "unparsed", "timeout"]}
    samples = [
        Sample(question=question, student=0, text="", finish="stop", verdict=verdict)
        for question, each in verdicts.items()
        for verdict in each
    ]
    counts_QS2 = pass_rate.count(samples, 4, 1)
    assert counts_QS2[:, 0].tolist() == [[2, 4], [4, 4], [0, 2], [0, 0]]
    weights = pass_rate.question_weights(counts_QS2, floor=0.05)[:, 0]
    raw = torch.tensor([0.30, 0.05, 0.05])
    assert torch.allclose(weights[:3], raw / raw.mean())
    assert weights[3] == 1.0


def weighted_step(run: Run, weights: list[tuple[float, ...]]) -> list[dict[str, torch.Tensor]]:
    """Gradients of one joint step on two questions that weigh as told (before clipping)."""
    trainer = trainer_of(run)
    questions = [dataclasses.replace(q, weights=w) for q, w in zip(trainer.train_pool[:2], weights, strict=True)]
    work: StepWork = step_work(questions)
    method = dataclasses.replace(trainer.method, max_grad_norm=1e9)
    joint_step(trainer.team, trainer.optimizers, method, work, embed(trainer, work), knobs(trainer))
    trainer.team.close()
    return [{name: w.grad.clone() for name, w in student.trainable() if w.grad is not None} for student in trainer.team.students]


def test_a_question_pulls_with_its_weight_and_each_student_has_its_own(toy_run):
    method = {**PLAIN, "extras": [extra("pass_rate")]}
    one, only_first, only_second, mixed = (
        weighted_step(toy_run(method=method), weights)
        for weights in ([(), ()], [(1.0, 1.0), (0.0, 0.0)], [(0.0, 0.0), (1.0, 1.0)], [(0.5, 2.0), (1.5, 0.25)])
    )
    for index, (first, second) in enumerate([(0.5, 1.5), (2.0, 0.25)]):
        for name, whole in one[index].items():
            assert torch.allclose(whole, only_first[index][name] + only_second[index][name], atol=1e-5)
            expected = first * only_first[index][name] + second * only_second[index][name]
            assert torch.allclose(mixed[index][name], expected, atol=1e-5), name


def test_a_question_answered_now_and_then_is_learned_better_than_one_that_is_always_or_never_right(toy_run, monkeypatch):
    """Planted pass rates: one question half right, the others never; its loss ends lower than without weights."""
    ends = {}
    for is_on in (True, False):
        planted = {}

        def sample_answers(trainer, config, planted=planted):
            planted["id"] = trainer.train_pool[0].question.id
            rows = [(q, s, n) for q in range(len(trainer.train_pool)) for s in (0, 1) for n in range(4)]
            return [
                Sample(question=q, student=s, text="", finish="stop", verdict="match" if q == 0 and n % 2 else "differ")
                for q, s, n in rows
            ]

        monkeypatch.setattr(pass_rate, "sample_answers", sample_answers)
        training = TRAINING | {"epochs": 4, "questions_per_step": 8}
        run = toy_run(training=training, method={**PLAIN, "extras": [extra("pass_rate")] if is_on else []})
        trainer = build_trainer(run, loop.train(run), None)
        ends[is_on] = losses_per_token(trainer.team, trainer.method, step_work(trainer.train_pool[:1])).mean(dim=0)
        others = losses_per_token(trainer.team, trainer.method, step_work(trainer.train_pool[1:])).mean(dim=0)
        ends[is_on, "others"] = others
        trainer.team.close()
    assert (ends[True] < ends[False]).all(), ends
    assert (ends[True, "others"] > ends[False, "others"]).all(), ends


def test_equal_pass_rates_change_nothing(toy_run, monkeypatch):
    plant_answers(monkeypatch, "The answer is 12345.")
    runs = [toy_run(training=TRAINING, method={**PLAIN, "extras": extras}) for extras in ([], [extra("pass_rate")])]
    plain, weighted = (loop.train(run) for run in runs)
    for one, other in zip(plain, weighted, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


# --- preferences -------------------------------------------------------------------------------------------------------------


def test_losses_are_the_papers_formulas():
    nll_R2, tokens_R2 = torch.tensor([[3.0, 8.0], [9.0, 2.0]]), torch.tensor([[4.0, 10.0], [3.0, 2.0]])
    reference_R2 = torch.tensor([[5.0, 7.0], [9.0, 2.0]])
    for row in range(2):
        right, wrong = (float(torch.exp(-nll_R2[row, i] / tokens_R2[row, i])) for i in (0, 1))
        ratio = (right / (1 - right)) / (wrong / (1 - wrong))
        expected = -torch.tensor(right).log() - 0.3 * torch.tensor(ratio / (1 + ratio)).log()
        assert torch.allclose(orpo_loss(nll_R2, tokens_R2, weight=0.3)[row], expected, atol=1e-5)
        gains = reference_R2[row] - nll_R2[row]
        expected = -torch.sigmoid(0.5 * (gains[0] - gains[1])).log()
        assert torch.allclose(dpo_loss(nll_R2, reference_R2, beta=0.5)[row], expected, atol=1e-6)
    certain = orpo_loss(torch.tensor([[0.0, 1.0]]), torch.ones(1, 2), weight=1.0)
    assert certain.isfinite().all()


@pytest.mark.parametrize("kind", ["orpo", "dpo"])
def test_the_final_phase_teaches_what_wrong_paths_have_in_common(toy_run, kind):
    """Planted: every wrong path says "perhaps". On questions never trained on it gets less likely than by right paths alone."""
    margins = {}
    for extras in ([], [extra(kind, weight=4.0)] if kind == "orpo" else [extra(kind, beta=0.5)]):
        run = toy_run(training=TRAINING | {"epochs": 3, "questions_per_step": 1}, method={**PLAIN, "extras": extras})
        plant_wrong_paths(run)
        trainer = build_trainer(run, loop.train(run), None)
        rivals = find_rivals(dataclasses.replace(trainer, train_pool=trainer.probe_pool))
        assert {each.question.question.split for each in rivals} == {"validation"}
        pairs = [each.pair(step_generator(0, "test", 0)) for each in rivals]
        nll_PS = losses_per_token(trainer.team, trainer.method, step_work(pairs))
        margins[bool(extras)] = (nll_PS[1::2] - nll_PS[0::2]).mean(dim=0)
        trainer.team.close()
    assert (margins[True] > margins[False] + 0.01).all(), margins


def test_pairs_are_of_one_question_one_style_where_there_is_one_and_never_of_test_questions(toy_run):
    run = toy_run(method={**PLAIN, "extras": [extra("dpo")]})
    plant_wrong_paths(run)
    trainer = trainer_of(run)
    splits = {question.id: question.split for question in run.ledger.all(Question)}
    rivals = find_rivals(trainer)
    assert len(rivals) == len(trainer.train_pool)
    for each in rivals:
        right, wrong = each.pair(step_generator(1, "test", 1)).paths
        assert right.path.question_id == wrong.path.question_id
        assert splits[right.path.question_id] == "train"
        assert right.path.style == wrong.path.style
        assert (right.path.text.count("perhaps"), wrong.path.text.count("perhaps")) == (0, 2)
    trainer.team.close()


# --- backward streams --------------------------------------------------------------------------------------------------------
