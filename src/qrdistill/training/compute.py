"""What a method costs beyond its label tokens: the budget of a plain fine-tuning that may compute as much.

Unit: one pass of a student over one path, forward and backward; a forward pass alone is a third of it. Beside the paths a student
is taught (`budget` of each question), qrdistill's students read shared paths to meet their peers and probe validation questions.
The encoder and the router are small beside a student and are not counted, nor is decoding for the utility `success`.
"""

from __future__ import annotations

from qrdistill.config import Config

FORWARD = 1 / 3


def compute_factor(config: Config) -> float:
    """Passes of a step divided by those over taught paths, expected before anything has run; at least 1.

    The number of paths a question has is taken from the grid (styles x samples x teachers), so the filter's drops make the true
    factor a little smaller.
    """
    policy, peers = config.method.policy, config.method.peers
    paths = len(config.generate.styles) * config.generate.samples * len(config.generate.teachers)
    taught = min(float(getattr(policy, "budget", paths)), paths) * config.training.questions_per_step
    meeting = 0.0
    if peers.weight > 0 and len(config.students) > 1:
        shared = min(peers.max_paths, taught)
        meeting = shared * (1 - taught / (paths * config.training.questions_per_step)) * (1 - peers.warmup_frac)
    questions = config.questions.num_train * len(config.questions.tasks) * config.training.epochs
    steps = max(questions / config.training.questions_per_step, 1.0)
    first = max(getattr(policy, "first_probe_questions", 0) - getattr(policy, "probe_questions", 0), 0)
    probed = getattr(policy, "probe_questions", 0) / getattr(policy, "probe_steps", 1) + first / steps
    probing = FORWARD * paths * probed
    return 1 + (meeting + probing) / taught
