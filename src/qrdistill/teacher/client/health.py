"""Whether a model can be asked at all: what its failures and replies say about the settings, not about one prompt."""

from __future__ import annotations

from qrdistill.errors import AuthError, PausedError, ProviderError, QRDistillError
from qrdistill.teacher.client.classify import Failure
from qrdistill.teacher.client.reply import Completion

SAME_TROUBLE = 3
"""So many replies in a row that are refused, or come from another model, mean a wrong setting if no good one came before."""
SAME_TROUBLE_LATER = 20
"""The same after good replies: the server changed under us."""


class Health:
    """What is known about a model from its replies so far.

    Args:
        where: how a user would name the teacher or judge.
        model: the model that is asked for.
        key_place: what holds the key, in words.
    """

    def __init__(self, where: str, *, model: str, key_place: str) -> None:
        self._where, self._model, self._key_place = where, model, key_place
        self._trouble: dict[str, int] = {}
        self.is_proven = False
        """A good reply has come: the key, the address and the model are right."""
        self.stopped: QRDistillError | None = None
        """Why nothing more may be sent, or None."""

    def stop(self, reason: QRDistillError) -> None:
        """Nothing more may be sent; the first reason stays."""
        self.stopped = self.stopped or reason

    def notice(self, result: Completion) -> None:
        """Learn from a reply; stops when one after another comes from another model."""
        if result.choices[0].state != "wrong_model":
            self.is_proven = True
            self._trouble.clear()
        elif self._is_steady("wrong_model"):
            self.stop(
                ProviderError(
                    f"{self._where}: {result.choices[0].detail} in every one of the last replies; correct `model`, or set "
                    "capabilities.model_check: false if that is the name your server gives it"
                )
            )

    def heed(self, failure: Failure) -> QRDistillError | None:
        """Learn from a failure; stops, and says why, when every further call would share it."""
        reason = self._reason(failure)
        if reason is not None:
            self.stop(reason)
        return reason

    def _reason(self, failure: Failure) -> QRDistillError | None:
        is_one_prompt = self.is_proven and failure.status == 403  # a key that worked: this prompt was moderated away
        if failure.kind == "auth" and not is_one_prompt:
            return AuthError(
                f"{self._where}: the server refuses the key in {self._key_place} ({failure.message}); "
                "set it to a valid key, then run the same command again"
            )
        if failure.kind == "quota":
            return PausedError(
                f"{self._where}: the account's quota is used up ({failure.message}); "
                "top it up or wait, then run the same command again"
            )
        if failure.kind not in {"request", "auth"}:
            return None
        is_address = not self.is_proven and (failure.status == 404 or 300 <= failure.status < 400)
        if not self._is_steady("request") and not is_address:
            return None
        return ProviderError(
            f"{self._where}: the server refuses our requests for the model {self._model!r} ({failure.message}); "
            "correct `model`, base_url or capabilities, then run the same command again"
        )

    def _is_steady(self, trouble: str) -> bool:
        """Count a trouble; whether it has come too often in a row to be bad luck."""
        self._trouble[trouble] = self._trouble.get(trouble, 0) + 1
        return self._trouble[trouble] >= (SAME_TROUBLE_LATER if self.is_proven else SAME_TROUBLE)
