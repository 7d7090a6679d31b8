"""Every published data set by the name a recipe uses."""

from __future__ import annotations

from qrdistill.tasks.datasets.anli import ANLI, ANLI_ROUNDS
from qrdistill.tasks.datasets.arc_challenge import ARC_CHALLENGE
from qrdistill.tasks.datasets.base import Dataset
from qrdistill.tasks.datasets.commonsense_qa import COMMONSENSE_QA
from qrdistill.tasks.datasets.date_understanding import DATE_UNDERSTANDING
from qrdistill.tasks.datasets.gsm8k import GSM8K
from qrdistill.tasks.datasets.math import MATH, MATH500
from qrdistill.tasks.datasets.strategy_qa import STRATEGY_QA
from qrdistill.tasks.datasets.tabmwp import TABMWP

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        STRATEGY_QA,
        ARC_CHALLENGE,
        MATH,
        MATH500,
        ANLI,
        *ANLI_ROUNDS,
        DATE_UNDERSTANDING,
        GSM8K,
        COMMONSENSE_QA,
        TABMWP,
    )
}
"""Name -> data set. A new one is a small file and one entry here."""
