"""The client of every model behind an HTTP endpoint: limits, retries, money, and a ledger of every call."""

from qrdistill.teacher.client.call import Call, Outcome, messages_of
from qrdistill.teacher.client.capabilities import PRESETS, Capabilities, Target, resolve
from qrdistill.teacher.client.classify import MAYBE_BILLED, Failure
from qrdistill.teacher.client.costs import Spent, spent_before
from qrdistill.teacher.client.desk import Desk, LedgerDesk, MemoryDesk
from qrdistill.teacher.client.endpoint import Endpoint
from qrdistill.teacher.client.limits import LimiterPool
from qrdistill.teacher.client.money import Cap, Meter, cost_usd
from qrdistill.teacher.client.openai_compatible import OpenAICompatibleTeacher

__all__ = [
    "MAYBE_BILLED",
    "PRESETS",
    "Call",
    "Cap",
    "Capabilities",
    "Desk",
    "Endpoint",
    "Failure",
    "LedgerDesk",
    "LimiterPool",
    "MemoryDesk",
    "Meter",
    "OpenAICompatibleTeacher",
    "Outcome",
    "Spent",
    "Target",
    "cost_usd",
    "messages_of",
    "resolve",
    "spent_before",
]
