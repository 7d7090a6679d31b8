"""Label rows and paths find each other: also where paths of other prompts stand between them, and where only some are read."""

import dataclasses

import torch

from qrdistill.routing.policy import step_generator
from qrdistill.training.forward import run_forward
from qrdistill.training.meeting import meet
from qrdistill.training.pool import load_pool, step_work
from qrdistill.training.team import load_team


def with_other_prompt(path, prompt_ids):
    """The same path behind another prompt, as streams have one of their own."""
    return dataclasses.replace(path, tokens=tuple(dataclasses.replace(tokens, prompt_ids=prompt_ids) for tokens in path.tokens))


def work_of(run, students):
    """One question whose second path stands behind a prompt of its own, so that packing moves it behind the others."""
    (question, *_) = load_pool(run, students)[0]
    paths = list(question.paths)
    paths[1] = with_other_prompt(paths[1], paths[1].tokens[0].prompt_ids[:-1])
    return step_work([dataclasses.replace(question, paths=tuple(paths))])


def test_first_rows_and_values_are_those_of_their_path(toy_run):
    run = toy_run()
    students = load_team(run.config)
    work = work_of(run, students)
    everything = torch.ones(len(work.paths), dtype=torch.bool)
    forward = run_forward(students[0], work, 0, is_read_P=everything, row_tokens=256)
    assert (torch.diff(forward.path_of_N) < 0).any(), "packing has changed the order of the paths"
    for number, path in enumerate(work.paths):
        tokens, start = path.tokens[0], int(forward.start_P[number])
        rows = slice(start, start + len(tokens.response_ids))
        assert tuple(forward.label_N[rows].tolist()) == tokens.response_ids
        assert set(forward.path_of_N[rows].tolist()) == {number}
        alone = run_forward(
            students[0], step_work(list(work.questions)), 0, is_read_P=torch.arange(len(work.paths)) == number, row_tokens=256
        )
        assert torch.equal(forward.is_value_N[rows], alone.is_value_N)
        assert torch.allclose(forward.hidden_ND[rows], alone.hidden_ND, atol=1e-4)


def test_positions_of_paths_that_are_read_elsewhere_have_no_row(toy_run):
    run = toy_run()
    students = load_team(run.config)
    work = work_of(run, students)
    everything = torch.ones(len(work.paths), dtype=torch.bool)
    is_here = torch.arange(len(work.paths)) % 2 == 0
    forwards = [run_forward(student, work, index, is_read_P=is_here, row_tokens=256) for index, student in enumerate(students)]
    meeting = meet(work, forwards, is_read_P=everything, limit=10_000, generator=step_generator(0, "meet", 0))
    whole = [run_forward(student, work, index, is_read_P=everything, row_tokens=256) for index, student in enumerate(students)]
    reference = meet(work, whole, is_read_P=everything, limit=10_000, generator=step_generator(0, "meet", 0))
    assert meeting.path_of_C.tolist() == reference.path_of_C.tolist()
    for row_S, all_S, path in zip(meeting.row_CS.tolist(), reference.row_CS.tolist(), meeting.path_of_C.tolist(), strict=True):
        for student in (0, 1):
            if not is_here[path]:
                assert row_S[student] == -1
                continue
            offset = all_S[student] - int(whole[student].start_P[path])
            assert row_S[student] == int(forwards[student].start_P[path]) + offset
            assert forwards[student].label_N[row_S[student]] == whole[student].label_N[all_S[student]]
    assert {path for path in meeting.path_of_C.tolist() if is_here[path]}, "some positions are here"
    assert {path for path in meeting.path_of_C.tolist() if not is_here[path]}, "and some are not"
