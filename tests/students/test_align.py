"""Alignment by text: identical bytes up to every shared position, whatever the tokenizers do."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.students.conftest import tiny_student

from qrdistill.students import PathTokens, Student, aligned_offsets, aligned_positions, shared_pieces, tokenize_path
from qrdistill.students.align import boundaries, piece_table

TEXTS = (
    "The answer is 24.",
    " a leading space, and two  spaces\n\n  and an indent",
    "naïve café — “quotes” 😀👍🏽 3 * 8 = 24 ✓",
    "한국어 中文 العربية ﬁ",
    "the literal ▁ mark, <0x41>, <eos> and <pad>",
    "tabs\tand\r\nlines\u00a0nbsp",
    "",
)


@pytest.fixture(scope="module")
def team() -> list[Student]:
    return [tiny_student("llama"), tiny_student("gemma3"), tiny_student("gpt_neox")]


def assert_same_text(students: list[Student], paths: list[PathTokens], positions: list[tuple[int, ...]]) -> None:
    """What the check of the alignment rests on: the tokens before each position spell one text, for every student."""
    for indices in positions:
        spelt = {
            student.tokenizer.decode(path.response_ids[:n]) for student, path, n in zip(students, paths, indices, strict=True)
        }
        assert len(spelt) == 1
        assert paths[0].text.startswith(spelt.pop())


def reference_positions(students: list[Student], paths: list[PathTokens]) -> list[tuple[int, ...]]:
    """Boundaries found by decoding every prefix (slow, and blind to what cannot be decoded)."""
    tables = []
    for student, path in zip(students, paths, strict=True):
        table: dict[str, int] = {}
        for n in range(len(path.response_ids)):
            text = student.tokenizer.decode(path.response_ids[:n])
            if "\N{REPLACEMENT CHARACTER}" not in text:
                table.setdefault(text, n)
        tables.append(table)
    shared = [text for text in tables[0] if all(text in table for table in tables)]
    return [tuple(table[text] for table in tables) for text in sorted(shared, key=len)]


@pytest.mark.parametrize("text", TEXTS)
def test_positions_are_those_found_by_decoding_prefixes(team, text):
    paths = [tokenize_path(student, "Q?", "p", text) for student in team]
    positions = aligned_positions(paths)
    assert_same_text(team, paths, positions)
    assert positions == reference_positions(team, paths)
    assert positions[0] == (0, 0, 0)
    assert positions[-1] == tuple(len(path.response_ids) - 1 for path in paths)


@given(st.text(max_size=40))
def test_any_text_aligns_to_identical_prefixes(text):
    students = cached_team()
    paths = [tokenize_path(student, "Q?", "p", text) for student in students]
    positions = aligned_positions(paths)
    assert_same_text(students, paths, positions)
    assert positions == sorted(positions)
    assert positions[-1] == tuple(len(path.response_ids) - 1 for path in paths)


def cached_team(_made: list[Student] = []) -> list[Student]:  # noqa: B006
    if not _made:
        _made += [tiny_student("qwen2"), tiny_student("gemma3")]
    return _made


def test_a_planted_off_by_one_is_caught(team):
    """Negative control: shift one student's offsets by a character, or one student's indices by a token."""
    paths = [tokenize_path(student, "Q?", "p", TEXTS[0]) for student in team]
    shifted = dataclasses.replace(
        paths[1], response_offsets=tuple((max(start - 1, 0), max(end - 1, 0)) for start, end in paths[1].response_offsets)
    )
    with pytest.raises(AssertionError):
        assert_same_text(team, paths, aligned_positions([paths[0], shifted, paths[2]]))
    with pytest.raises(AssertionError):
        assert_same_text(
            team, paths, [(a, min(b + 1, len(paths[1].response_ids) - 1), c) for a, b, c in aligned_positions(paths)]
        )


def test_different_texts_are_refused(team):
    paths = [tokenize_path(student, "Q?", f"p{n}", f"text {n}") for n, student in enumerate(team)]
    with pytest.raises(ValueError, match="one text"):
        aligned_offsets(paths)


def test_a_character_cut_into_bytes_has_a_boundary_only_before_it():
    student = tiny_student("llama")
    path = tokenize_path(student, "Q?", "p", "a😀b")
    assert boundaries(path) == {0: 0, 1: 1, 2: 5, 3: 6}


def test_trimmed_spaces_belong_to_the_token_after_them():
    offsets = ((0, 3), (4, 6), (7, 9), (9, 9))
    path = PathTokens(path_id="p", text="one tw th", prompt_ids=(1,), response_ids=(5, 6, 7, 2), response_offsets=offsets)
    assert boundaries(path) == {0: 0, 3: 1, 6: 2, 9: 3}


def test_shared_pieces_spell_the_same_bytes(team):
    tables = [{number: piece for piece, number in piece_table(student).items()} for student in team]
    ids = shared_pieces(team)
    assert {len(column) for column in ids} == {len(ids[0])}
    assert [int(column[0]) for column in ids] == [student.template.end_id for student in team]
    for row in zip(*(column.tolist() for column in ids), strict=True):
        if row[0] != team[0].template.end_id:
            assert len({table[number] for table, number in zip(tables, row, strict=True)}) == 1
    assert len(ids[0]) == 1 + 256  # the character tokenizer knows bytes and single characters only


@pytest.mark.real
def test_real_tokenizers_align_and_share_pieces(packaged):
    students = [packaged("smollm2-135m-instruct"), packaged("gemma3-270m")]
    for text in TEXTS[:4]:
        paths = [tokenize_path(student, "Q?", "p", text) for student in students]
        positions = aligned_positions(paths)
        assert_same_text(students, paths, positions)
        assert len(positions) > 3
    ids = shared_pieces(students)
    assert len(ids[0]) > 40_000
    for piece in (b" the", b"\n", b"7", " é".encode()):
        assert all(piece in piece_table(student) for student in students)
    for a, b in itertools.islice(zip(*(column.tolist() for column in ids), strict=True), 1, None, 997):
        assert (
            students[0].tokenizer.decode([a]) == students[1].tokenizer.decode([b])
            or b"\xef\xbf\xbd" in students[0].tokenizer.decode([a]).encode()
        )
