"""When to try again: Retry-After in all its shapes, and exponential waits with jitter. This is the only retry layer."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from qrdistill.config.endpoints import LimitsConfig
from qrdistill.teacher.client.classify import Failure

_NUMBER = re.compile(r"\s*[-+]?\d{1,100}(?:\.\d{1,100})?\s*")


def retry_after(headers: Mapping[str, str], *, now_s: float) -> float:
    """Seconds a server asks us to wait, from `retry-after-ms` or `retry-after` (seconds, a fraction, or an HTTP date).

    Negative numbers and past dates mean 0. Anything unreadable is -1: the server did not say.

    >>> retry_after({"retry-after": "1.5"}, now_s=0), retry_after({"retry-after": "soon"}, now_s=0)
    (1.5, -1.0)
    """
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")[:100]
        if _NUMBER.fullmatch(value):
            return max(0.0, float(value) * scale)
    value = headers.get("retry-after", "")[:100]
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now_s)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return -1.0


def wait_s(failure: Failure, number: int, limits: LimitsConfig, *, dice: random.Random) -> float:
    """Seconds to wait after the `number`-th failed attempt (from 1).

    Never shorter than the server asked for, never longer than `retry_after_cap_s`; without such a wish between half and all of
    backoff_s * 2^(number-1), at most `backoff_cap_s`.
    """
    own = min(limits.backoff_cap_s, limits.backoff_s * 2.0 ** min(number - 1, 30)) * (0.5 + 0.5 * dice.random())
    if failure.retry_after_s < 0 or math.isnan(failure.retry_after_s):
        return own
    # A little more than told: many callers told the same second should not come back in the same millisecond.
    jittered = failure.retry_after_s + 0.05 + 0.1 * own
    return min(max(jittered, failure.retry_after_s), limits.retry_after_cap_s)
