"""How this process was started, by the environment torchrun gives it. Free of torch: light verbs ask it too."""

from __future__ import annotations

import os


def num_ranks() -> int:
    """Processes of this command, on all machines (1 without torchrun)."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() else 1


def is_follower() -> bool:
    """Whether another process, rank 0, keeps the run folder and speaks for the command."""
    return num_ranks() > 1 and int(os.environ["RANK"]) > 0


def ranks_here() -> int:
    """Processes of this command on this machine, which share its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if num_ranks() > 1 else 1
