"""Greedy decoding: equal to the naive loop, whoever shares the batch, and stopped where it must be."""

import string
import sys
from concurrent.futures import CancelledError

import pytest
import torch
from tests.students.conftest import tiny_student

from qrdistill.config import FrozenConfig
from qrdistill.errors import DataError
from qrdistill.students import Decoded, Student, decode
from qrdistill.students.cache import SlotCache
from qrdistill.students.decode import ANSWER_LINE, RUN_ON, is_loop

PROMPTS = [f"1 + {number}?" + " x" * (number * 5 % 17) for number in range(11)]


def naive(student: Student, prompt: str, limit: int, opening: str = "") -> Decoded:
    """One token at a time, no cache, no batch."""
    ids = [*student.template.prompt_ids(prompt), *student.template.response_ids(opening)[0][:-1]]
    new: list[int] = []
    while True:
        with torch.no_grad():
            logits = student.model(input_ids=torch.tensor([ids + new]), use_cache=False).logits[0, -1]
        token = int(logits.argmax())
        text = student.tokenizer.decode(new, skip_special_tokens=True)
        if token in student.template.stop_ids:
            return Decoded(text=text, num_tokens=len(new), finish="stop")
        new.append(token)
        text = student.tokenizer.decode(new, skip_special_tokens=True)
        if found := RUN_ON.search(text):
            return Decoded(text=text[: found.start()], num_tokens=len(new), finish="stop")
        if found := ANSWER_LINE.search(text):
            return Decoded(text=text[: found.end()].rstrip("\n"), num_tokens=len(new), finish="stop")
        if len(new) == limit or is_loop(new):
            return Decoded(text=text, num_tokens=len(new), finish="length")


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batched_decoding_equals_the_naive_loop(architecture, batch_size):
    student = tiny_student(architecture)
    limit = 40  # past the sliding window of the tiny Gemma
    assert decode(student, PROMPTS, max_new_tokens=limit, batch_size=batch_size) == [naive(student, p, limit) for p in PROMPTS]


def test_the_adapter_speaks():
    adapted, base = tiny_student("llama"), tiny_student("llama", adapter=FrozenConfig())
    assert decode(adapted, PROMPTS[:4], max_new_tokens=8) != decode(base, PROMPTS[:4], max_new_tokens=8)
    with adapted.model.disable_adapter():
        assert decode(adapted, PROMPTS[:4], max_new_tokens=8) == decode(base, PROMPTS[:4], max_new_tokens=8)


class Scripted:
    """Makes a student say given texts (then its end token, unless told not to), whatever its weights."""

    def __init__(self, student: Student, scripts: dict[str, str], *, is_ended: bool = True) -> None:
        self.student = student
        self.scripts = {}
        for prompt, text in scripts.items():
            ids, _ = student.template.response_ids(text)
            self.scripts[tuple(student.template.prompt_ids(prompt))] = ids if is_ended else ids[:-1] * 50

    def install(self, monkeypatch) -> None:
        def forward(student, cache, rows, ids, temperature):
            for layer in cache.layers:
                states = torch.zeros(len(rows), 1, ids.shape[1], 1)
                layer.update(states, states)
            for row in rows:
                row.new_ids.append(self.scripts[tuple(row.prompt_ids)][len(row.new_ids)])

        monkeypatch.setattr(sys.modules[Decoded.__module__], "_forward", forward)


@pytest.mark.parametrize(
    ("said", "kept", "finish"),
    [
        ("3 * 8 = 24.\nThe answer is 24.", "3 * 8 = 24.\nThe answer is 24.", "stop"),
        ("The answer is 24.\nAnd now for something else", "The answer is 24.", "stop"),
        ("So, the answer is 24.\nmore", "So, the answer is 24.", "stop"),
        ("3 * 8 = 24. Therefore the answer is 24.\nmore", "3 * 8 = 24. Therefore the answer is 24.", "stop"),
        ("24\nQuestion: What is 2?", "24", "stop"),
        ("Question: What is 2?", "", "stop"),
        ("Is the answer is 5?\nNo, 6.", "Is the answer is 5?\nNo, 6.", "stop"),
        ("I think the answer is 5\nbut let me check: 6", "I think the answer is 5\nbut let me check: 6", "stop"),
        ("The answer is\n6", "The answer is\n6", "stop"),
        ("A question: why? The ratio is 3:4.", "A question: why? The ratio is 3:4.", "stop"),
    ],
)
def test_stop_rules(monkeypatch, said, kept, finish):
    student = tiny_student("llama")
    Scripted(student, {"q": said}).install(monkeypatch)
    (answer,) = decode(student, ["q"], max_new_tokens=400)
    assert (answer.text, answer.finish) == (kept, finish)


def test_a_loop_ends_as_cut_off(monkeypatch):
    student = tiny_student("llama")
    Scripted(student, {"q": "no end. "}, is_ended=False).install(monkeypatch)
    (answer,) = decode(student, ["q"], max_new_tokens=400)
    assert answer.finish == "length"
    assert 24 <= answer.num_tokens < 60


def test_the_token_limit_cuts_and_says_so(monkeypatch):
    student = tiny_student("llama")
    Scripted(student, {"q": "twelve letters and more"}).install(monkeypatch)
    (answer,) = decode(student, ["q"], max_new_tokens=12)
    assert answer == Decoded(text="twelve lette", num_tokens=12, finish="length")


def test_rows_are_replaced_as_they_end_and_reported_once(monkeypatch):
    student = tiny_student("llama")
    scripts = {f"q{number}": string.ascii_letters[: 1 + number * 7 % 30] for number in range(23)}
    Scripted(student, scripts).install(monkeypatch)
    seen: list[int] = []
    answers = decode(student, list(scripts), max_new_tokens=50, batch_size=4, on_done=lambda index, _: seen.append(index))
    assert [answer.text for answer in answers] == list(scripts.values())
    assert sorted(seen) == list(range(23))


def test_a_prompt_that_fills_the_window_is_refused_and_the_window_limits_the_answer():
    student = tiny_student("llama")
    window = student.causal_lm.config.max_position_embeddings
    with pytest.raises(DataError, match="fills the window"):
        decode(student, ["x" * window], max_new_tokens=5)
    spare = 3
    layout = len(student.template.prompt_ids(""))
    (answer,) = decode(student, ["x" * (window - layout - spare)], max_new_tokens=50)
    assert answer.num_tokens <= spare


def test_cancelling_stops_before_the_next_step():
    calls = iter([False, False, True])
    with pytest.raises(CancelledError):
        decode(tiny_student("llama"), PROMPTS, max_new_tokens=50, is_cancelled=lambda: next(calls))


def test_nothing_to_decode():
    assert decode(tiny_student("llama"), [], max_new_tokens=5) == []


def test_cache_keeps_the_right_slots():
    """Reference: a plain tensor of what was written, sliced."""
    cache, other = SlotCache(1), SlotCache(1)
    states = torch.arange(3 * 2 * 5 * 4, dtype=torch.float32).reshape(3, 2, 5, 4)
    keys, values = cache.layers[0].update(states, -states)
    assert torch.equal(keys, states)
    assert torch.equal(values, -states)
    cache.keep(torch.tensor([0, 2]), 1)
    fresh = torch.full((1, 2, 2, 4), 7.0)
    other.layers[0].update(fresh, fresh)
    cache.append(other)
    step = torch.full((3, 2, 1, 4), 9.0)
    keys, values = cache.layers[0].update(step, step)
    assert torch.equal(keys[:2, :, :4], states[[0, 2]][:, :, 1:])
    assert torch.equal(keys[2, :, :4], torch.cat([torch.zeros(2, 2, 4), fresh[0]], dim=1))
    assert torch.equal(values[:, :, 4:], step)
    assert cache.num_slots == 5


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_real_students_decode_as_the_library_does(packaged, name):
    """Against transformers' own generate, up to the first stop."""
    student = packaged(name)
    prompts = ["What is 3 + 4?", "How many legs do 3 spiders and a dog have in total?\nEnd with: The answer is <number>."]
    for prompt, answer in zip(prompts, decode(student, prompts, max_new_tokens=12), strict=True):
        ids = torch.tensor([student.template.prompt_ids(prompt)])
        new = student.model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        assert student.tokenizer.decode(new, skip_special_tokens=True).startswith(answer.text)
        assert answer.num_tokens > 0


def test_an_answer_that_is_begun_goes_on_from_its_opening(architecture):
    student = tiny_student(architecture)
    openings = [("First, 2 + " * (number % 4))[: 3 + 2 * number] for number in range(len(PROMPTS))]
    begun = decode(student, PROMPTS, max_new_tokens=16, batch_size=3, openings=openings)
    assert begun == [naive(student, prompt, 16, opening) for prompt, opening in zip(PROMPTS, openings, strict=True)]
    assert begun != decode(student, PROMPTS, max_new_tokens=16, batch_size=3)


def test_drawn_answers_follow_the_students_distribution_and_not_their_neighbours():
    """Reference: the softmax of the plain forward pass at the first token, at two temperatures."""
    student = tiny_student("llama")
    prompt, number = PROMPTS[3], 400
    with torch.no_grad():
        logits = student.model(input_ids=torch.tensor([student.template.prompt_ids(prompt)]), use_cache=False).logits[0, -1]
    for temperature in (0.5, 1.5):
        drawn = decode(
            student, [prompt] * number, max_new_tokens=1, batch_size=number, temperature=temperature, seeds=range(number)
        )
        expected: dict[str, float] = {}  # of texts: a byte and a letter may read alike
        for token, p in enumerate((logits / temperature).softmax(dim=0).tolist()):
            text = student.tokenizer.decode([token], skip_special_tokens=True)
            expected[text] = expected.get(text, 0.0) + p
        for text in sorted(expected, key=lambda text: -expected[text])[:3]:
            share, p = sum(answer.text == text for answer in drawn) / number, expected[text]
            assert abs(share - p) < 4.5 * (p * (1 - p) / number) ** 0.5 + 1e-9, (temperature, text)
    seeds = list(range(len(PROMPTS)))
    together = decode(student, PROMPTS, max_new_tokens=12, temperature=0.8, seeds=seeds)
    assert together == decode(student, PROMPTS, max_new_tokens=12, batch_size=2, temperature=0.8, seeds=seeds)
    assert together != decode(student, PROMPTS, max_new_tokens=12, temperature=0.8, seeds=seeds[::-1])
    assert decode(student, PROMPTS, max_new_tokens=12, seeds=seeds) == decode(student, PROMPTS, max_new_tokens=12)
