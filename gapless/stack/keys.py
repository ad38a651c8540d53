"""The passwords and keys of the private servers: generated once, kept in one 0600 file, never shown but the login's."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import msgspec

from gapless.errors import ConfigError
from gapless.stack.private_files import write_private


def _password() -> str:
    # Letters and digits only: it stands in URLs, SQL and configuration files, and none of them needs quoting then.
    return secrets.token_hex(20)


def _signing_key() -> str:
    return secrets.token_hex(32)  # 64 characters: SHA-512 wants no fewer bytes


def _fernet() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


class Keys(msgspec.Struct, frozen=True):
    """Every generated secret. `airflow_login` is what a person types."""

    mysql: str = msgspec.field(default_factory=_password)
    redis: str = msgspec.field(default_factory=_password)
    postgresql: str = msgspec.field(default_factory=_password)
    airflow_metadata: str = msgspec.field(default_factory=_password)
    airflow_login: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(12))
    airflow_fernet: str = msgspec.field(default_factory=_fernet)
    airflow_jwt: str = msgspec.field(default_factory=_signing_key)
    airflow_session: str = msgspec.field(default_factory=_signing_key)


def load_keys(path: Path) -> Keys:
    """The kept keys; what is missing is generated and kept.

    Raises:
        ConfigError: the file is damaged. It is not replaced: the databases were made with what it held.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Keys) if path.exists() else Keys()
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is damaged ({error}): restore it, or start over without data by `make purge`"
        ) from None
    write_private(path, msgspec.json.format(msgspec.json.encode(kept), indent=2).decode() + "\n")
    return kept
