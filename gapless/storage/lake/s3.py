"""A lake in an S3-compatible object store: `s3://bucket/prefix`. Whole objects, replaced by single checked PUTs."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, TypeVar, cast

import boto3
import botocore.exceptions as boto
from botocore.config import Config

from gapless.errors import StorageError
from gapless.storage.lake.objects import PreconditionFailed, Stat, checked_key

T = TypeVar("T")

_ABSENT = ("NoSuchKey", "404", "NotFound")
_REFUSED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
_PASSING = (
    "SlowDown",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "InternalError",
    "ServiceUnavailable",
    "BadDigest",
)
_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct GAPLESS_LAKE_URI",
    "AccessDenied": "give this key the right to read, write, list and delete below the lake's prefix",
    "InvalidAccessKeyId": "correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "correct AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "set this machine's clock: S3 refuses requests that are more than 15 minutes off",
    "EntityTooLarge": "the object is larger than the store allows in one PUT",
}


_TAIL_BYTES = 128 * 1024
"""What opening an object reads at once: the footer, and the whole of a small one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store that is away, or throttles, is asked again before the work fails.

    Attributes:
        total_s: no new attempt begins later than this after the first.
        first_s, most_s: the first wait and the longest; each is twice the one before.
        connect_s, read_s: how long one attempt waits for a connection, and for bytes on it.
    """

    total_s: float = 150.0
    first_s: float = 0.2
    most_s: float = 10.0
    connect_s: float = 5.0
    read_s: float = 60.0


class S3Store:
    """Objects in a bucket, below a prefix. Safe for many threads; make one after a fork, not before.

    A PUT carries its MD5, so the server refuses bytes that changed on the way. `if_match` and `if_absent` are left to
    the server where it honours them (AWS S3 documents it; `rclone serve s3` 1.75 ignores them), which is found out
    once, by a probe under `_probe/`; elsewhere the PUT follows a check. Proxies of the environment are honoured.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        region: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._patience = patience or Patience()
        self._probed: bool | None = None
        self._probing = threading.Lock()
        config = Config(
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            connect_timeout=self._patience.connect_s,
            read_timeout=self._patience.read_s,
            retries={"total_max_attempts": 1},  # ours, below, know which answers pass and how long is too long
            # Newer checksums travel as a trailer that several compatible servers do not understand; Content-MD5 all do.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._client: Any = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint_url,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                region_name=region or ("us-east-1" if endpoint_url else None),
                config=config,
            )
        except (boto.BotoCoreError, ValueError) as error:
            raise StorageError(f"cannot use {self.root_uri}: {error}") from error

    @property
    def root_uri(self) -> str:
        return f"s3://{self._bucket}" + (f"/{self._prefix}" if self._prefix else "")

    @property
    def conditional(self) -> bool:
        with self._probing:
            if self._probed is None:
                self._probed = self._probe()
            return self._probed

    def head(self, key: str) -> Stat | None:
        try:
            answer = self._call("look at", key, lambda: self._client.head_object(**self._where(key)))
        except _Absent:
            return None
        return _stat(key, answer)

    def get(self, key: str) -> bytes | None:
        fetched = self.fetch(key)
        return None if fetched is None else fetched[0]

    def fetch(self, key: str) -> tuple[bytes, Stat] | None:
        def attempt() -> tuple[bytes, Stat]:
            answer = self._client.get_object(**self._where(key))
            return _whole(answer), _stat(key, answer)

        try:
            return self._call("read", key, attempt)
        except _Absent:
            return None

    def open(self, key: str) -> BinaryIO | None:
        def attempt() -> tuple[Stat, bytes]:
            answer = self._client.get_object(**self._where(key), Range=f"bytes=-{_TAIL_BYTES}")
            tail, whole_size = _whole(answer), answer.get("ContentRange", "").rpartition("/")[2]
            stat = Stat(key, int(whole_size or len(tail)), _etag(answer), _ms(answer["LastModified"]))
            return stat, tail

        try:
            stat, tail = self._call("read", key, attempt)
        except _Absent:
            return None
        except _NoSuchRange:  # smaller than the tail: AWS gives the whole object then, others refuse
            whole = self.fetch(key)
            if whole is None:
                return None
            tail, stat = whole
        return cast(BinaryIO, _Ranges(self, stat, tail))

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> Stat:
        arguments = self._where(key) | {"Body": data, "ContentMD5": base64.b64encode(_md5(data)).decode()}
        if (if_match is not None or if_absent) and not self._conditions(key, if_match, if_absent):
            arguments |= {"IfMatch": if_match} if if_match is not None else {"IfNoneMatch": "*"}
        attempts = 0

        def attempt() -> Any:
            nonlocal attempts
            attempts += 1
            return self._client.put_object(**arguments)

        try:
            answer = self._call("write", key, attempt)
        except (_Refused, _Absent):  # If-Match on an object that is gone is answered 404
            # The answer to an earlier attempt may have been lost although the object was written: then it is ours.
            found = self.fetch(key) if attempts > 1 else None
            if found is None or found[0] != data:
                raise PreconditionFailed(
                    f"{self.root_uri}/{key} is not the version this write was made for (another writer was faster); "
                    "merge again and retry"
                ) from None
            return found[1]
        return Stat(key, len(data), _etag(answer), int(time.time() * 1000))

    def delete(self, key: str) -> None:
        try:
            self._call("delete", key, lambda: self._client.delete_object(**self._where(key)))
        except _Absent:
            return

    def list(self, prefix: str) -> Iterator[Stat]:
        start = f"{self._prefix}/{prefix}" if self._prefix else prefix
        token: dict[str, str] = {}
        while True:
            arguments = {"Bucket": self._bucket, "Prefix": start} | token
            try:
                page = self._call("list", prefix, lambda: self._client.list_objects_v2(**arguments))  # noqa: B023 - called at once
            except _Absent:
                return
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(f"{self._prefix}/") if self._prefix else item["Key"]
                yield Stat(key, item["Size"], item["ETag"].strip('"'), _ms(item["LastModified"]))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read_range(self, stat: Stat, start: int, length: int) -> bytes:
        """Bytes of exactly this version of an object.

        Raises:
            PreconditionFailed: the object was replaced since.
        """

        def attempt() -> tuple[bytes, str]:
            last = start + length - 1
            answer = self._client.get_object(**self._where(stat.key), Range=f"bytes={start}-{last}")
            return _whole(answer), _etag(answer)

        try:
            data, etag = self._call("read", stat.key, attempt)
        except (_Absent, _NoSuchRange):
            data, etag = b"", ""
        if etag != stat.etag:
            raise PreconditionFailed(f"{self.root_uri}/{stat.key} was replaced while it was read; read it again")
        return data

    def _conditions(self, key: str, if_match: str | None, if_absent: bool) -> bool:
        """Check the conditions here when the server would not; whether they were checked here."""
        if self.conditional:
            return False
        current = self.head(key)
        etag = None if current is None else current.etag
        if (if_absent and etag is not None) or (if_match is not None and etag != if_match):
            raise PreconditionFailed(
                f"{self.root_uri}/{key} is not the version this write was made for; merge again and retry"
            )
        return True

    def _probe(self) -> bool:
        """Whether the server refuses conditional PUTs as it should. Leaves nothing; sweeps what a killed probe left."""
        old = datetime.now(UTC) - timedelta(days=1)
        for stat in list(self.list("_probe/")):
            if stat.modified_ms < _ms(old):
                self.delete(stat.key)
        key = f"_probe/{secrets.token_hex(8)}"
        wrong_mark = f'"{"0" * 32}"'
        self._call("write", key, lambda: self._client.put_object(**self._where(key), Body=b"probe"))
        try:
            return self._refuses(key, {"IfNoneMatch": "*"}) and self._refuses(key, {"IfMatch": wrong_mark})
        finally:
            self.delete(key)

    def _refuses(self, key: str, condition: dict[str, str]) -> bool:
        try:
            self._call("write", key, lambda: self._client.put_object(**self._where(key), Body=b"again", **condition))
        except _Refused:
            return True
        except _Unsupported:
            return False
        return False

    def _where(self, key: str) -> dict[str, str]:
        checked_key(key)
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{key}" if self._prefix else key}

    def _call(self, verb: str, key: str, attempt: Callable[[], T]) -> T:
        """`attempt`, again and again while what stopped it passes by itself, within the bound."""
        where = f"{self.root_uri}/{key}"
        deadline = time.monotonic() + self._patience.total_s
        wait = self._patience.first_s
        while True:
            try:
                return attempt()
            except boto.ClientError as error:
                problem: Exception = error
                _judge(error, verb, where)
            except (boto.NoCredentialsError, boto.ParamValidationError, boto.ProfileNotFound) as error:
                raise StorageError(
                    f"cannot {verb} {where}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ) from error
            except (boto.BotoCoreError, boto.HTTPClientError, OSError) as error:
                problem = error
            if time.monotonic() + wait > deadline:
                raise StorageError(
                    f"cannot {verb} {where}: the object store did not do it within {self._patience.total_s:.0f} s "
                    f"({problem}); see that it runs and can be reached, then run this again"
                ) from problem
            time.sleep(wait)
            wait = min(wait * 2, self._patience.most_s)


class _Absent(Exception):
    """The server says: there is no such object. An answer, not an error."""


class _Refused(Exception):
    """The server says: the condition does not hold. An answer, not an error."""


class _NoSuchRange(Exception):
    """The server says: the object is not that long. An answer, not an error."""


class _Unsupported(StorageError):
    """The server does not know this kind of request."""


def _judge(error: boto.ClientError, verb: str, where: str) -> None:
    """Return when asking again may help; raise what the answer means otherwise."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _ABSENT:
        raise _Absent
    if code in _REFUSED:
        raise _Refused
    if code == "InvalidRange" or status == 416:
        raise _NoSuchRange
    if code == "NotImplemented" or status == 501:
        raise _Unsupported(f"cannot {verb} {where}: the store does not support it ({code})") from error
    if code in _PASSING or status >= 500 or status == 429:
        return
    advice = _ADVICE.get(code, "see the store's settings and log")
    if status == 403 and code not in _ADVICE:  # HEAD has no body to say why
        advice = _ADVICE["AccessDenied"]
    message = error.response.get("Error", {}).get("Message", "")
    raise StorageError(f"cannot {verb} {where}: {code} {message}; {advice}") from error


def _whole(answer: dict[str, Any]) -> bytes:
    """The body, which must be as long as announced: a cut connection is no end of file."""
    body = bytes(answer["Body"].read())
    if len(body) != answer["ContentLength"]:
        raise OSError(f"the connection was cut after {len(body)} of {answer['ContentLength']} bytes")
    return body


def _stat(key: str, answer: dict[str, Any]) -> Stat:
    return Stat(key, int(answer["ContentLength"]), _etag(answer), _ms(answer["LastModified"]))


def _etag(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class _Ranges(io.RawIOBase):
    """One version of an object as a seekable file; reads become ranged GETs."""

    def __init__(self, store: S3Store, stat: Stat, tail: bytes) -> None:
        self._store = store
        self._stat = stat
        self._tail = tail
        self._tail_at = stat.size - len(tail)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stat.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._stat.size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        if length == 0:
            return b""
        if self._at >= self._tail_at:
            begin = self._at - self._tail_at
            data = self._tail[begin : begin + length]
        else:
            data = self._store.read_range(self._stat, self._at, length)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self.read(-1)
