"""A recipe with two tiny students, small enough for any test."""

from qrdistill.config import Config, validate


def toy_recipe(**changes: object) -> Config:
    """The toy recipe with changes: toy_recipe(method__peers={...})."""
    tree = {
        "name": "toy",
        "seed": 1,
        "questions": {
            "tasks": [{"kind": "reasoning", "name": "leg_counting"}, {"kind": "reasoning", "name": "chain_sum"}],
            "num_train": 4,
            "num_validation": 2,
            "num_test": 2,
        },
        "students": [
            {
                "name": name,
                "source": {"kind": "tiny", "architecture": name, "seed": seed},
                "adapter": {"kind": "full"},
                "learning_rate": 3e-3,
            }
            for seed, name in enumerate(("llama", "gemma3"))
        ],
        "method": {
            "policy": {"kind": "qrdistill", "budget": 2, "encoder": {"kind": "ngram", "dim": 32}, "hidden": 8, "probe_steps": 2},
            "peers": {"weight": 0.2, "warmup_frac": 0.0, "support": 16, "max_positions": 32},
        },
        "training": {"questions_per_step": 2, "checkpoint_steps": 1},
        "runtime": {"threads": 1},
    }
    for dotted, value in changes.items():
        node = tree
        *parents, last = dotted.split("__")
        for part in parents:
            node = node[part]
        node[last] = value
    return validate(tree)
