"""Which form a month has, days or buckets: claimed once, by its first writer, for ever."""

from __future__ import annotations

import hashlib

import msgspec

from gapless.errors import StorageError
from gapless.storage.lake import layout
from gapless.storage.lake.layout import Form, Month
from gapless.storage.lake.locks import Locks
from gapless.storage.lake.objects import ObjectStore, PreconditionFailed, uri_of

LOCK_TIMEOUT_S = 120.0
_KNOWN = 4_096


class Claim(msgspec.Struct, frozen=True):
    """The form of one month, as it lies in the lake."""

    form: Form


class Forms:
    """The forms of a lake's months. Two writers at once never come to different answers.

    A claim is an object of its own, put only if absent, under a lock: the lock serves stores that ignore conditions,
    the condition serves writers that have lost their lock (docs/decisions/0033-a-month-has-one-form.md).
    """

    def __init__(self, store: ObjectStore, locks: Locks) -> None:
        self._store = store
        self._locks = locks
        self._known: dict[Month, Form] = {}

    def claim(self, month: Month, wanted: Form) -> Form:
        """The form of a month that is about to be written; `wanted`, if nobody decided before.

        Raises:
            StorageError: the store did not do it, or the month's objects are of both forms.
        """
        if len(month.forms) == 1:
            return month.forms[0]
        while (form := self.find(month)) is None:
            with self._locks.named_locks([lock_name(self._store, month.prefix)], timeout_s=LOCK_TIMEOUT_S):
                if self.find(month) is None:
                    held = self._lying(month)  # written before there were claims
                    try:
                        data = msgspec.json.encode(Claim(held or wanted)) + b"\n"
                        self._store.put(layout.form_key(month), data, if_absent=True)
                    except PreconditionFailed:
                        continue  # a writer with other locks was first: see what it claimed
        return form

    def find(self, month: Month) -> Form | None:
        """The form that is claimed; None when nobody wrote the month since there are claims.

        Raises:
            StorageError: the store is away, or what lies there is of another form than the claim.
        """
        if month in self._known:
            return self._known[month]
        data = self._store.get(layout.form_key(month))
        if data is None:
            return None
        uri = uri_of(self._store, layout.form_key(month))
        try:
            form = msgspec.json.decode(data, type=Claim).form
        except msgspec.MsgspecError as error:
            raise StorageError(f'{uri} is damaged: {error}; write {{"form": "days"}}, or buckets') from error
        lying = self._lying(month)
        if lying not in (None, form):
            raise StorageError(
                f"{uri} says that the month lies in {form}, but it lies in {lying}: objects were moved by hand. "
                "Correct the claim, or move the objects back"
            )
        while len(self._known) >= _KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[month] = form
        return form

    def lying(self, month: Month) -> Form | None:
        """The form in which a month lies, claimed or not; None when it has no objects and no claim."""
        return month.forms[0] if len(month.forms) == 1 else self.find(month) or self._lying(month)

    def _lying(self, month: Month) -> Form | None:
        found = (layout.parse_key(stat.key) for stat in self._store.list(month.prefix))
        forms = {each.form for each in found if each is not None}
        if len(forms) > 1:
            raise StorageError(
                f"{uri_of(self._store, month.prefix)}* lies in days and in buckets, so bars could be there twice: move "
                "one of the two to the lake's _superseded/ and load its windows again"
            )
        return next(iter(forms), None)


def lock_name(store: ObjectStore, key: str) -> str:
    """A lock's name for a key or the beginning of keys: the same for all writers of a lake, at most 64 characters."""
    lake = hashlib.sha256(store.root_uri.encode()).hexdigest()[:8]
    return f"lake:{lake}:{key.removeprefix('ohlcv/').removesuffix('.parquet')}"
