"""All settings, in one typed home: read from the environment, `.env`, and what the native start wrote.

Precedence, first wins: environment, `.env` in the project, `var/gapless.env` (written by `gapless up`), a file named
after the variable in `/run/secrets` (where containers find theirs), defaults. Nothing else reads `os.environ`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gapless.errors import ConfigError


def project_root() -> Path:
    """The checkout this package runs from, or the current folder when it was installed as a wheel."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def include_dir() -> Path:
    """Where the project's `include/` lies: in the checkout, or inside the installed wheel."""
    packaged = Path(__file__).resolve().parent / "_include"
    return packaged if packaged.exists() else project_root() / "include"


BINANCE_SPOT_REST = "https://api.binance.com"
BINANCE_UM_REST = "https://fapi.binance.com"
BINANCE_VISION = "https://data.binance.vision"
BINANCE_VISION_LIST = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
BINANCE_SPOT_WS = "wss://stream.binance.com:9443"
BINANCE_UM_WS = "wss://fstream.binance.com"
SECRETS_DIR = Path("/run/secrets")
PAGERDUTY_EVENTS = "https://events.pagerduty.com/v2/enqueue"


def _no_slash(value: object) -> object:
    return value.rstrip("/") if isinstance(value, str) else value


Url = Annotated[str, BeforeValidator(_no_slash)]


class Settings(BaseSettings):
    """Every setting of Gapless. Names in the environment carry the prefix `GAPLESS_`, upper case."""

    model_config = SettingsConfigDict(env_prefix="GAPLESS_", extra="ignore", frozen=True, populate_by_name=True)

    mode: Literal["real", "demo"] = "real"
    """`demo`: this installation shows a generated market, and says so wherever its data appear."""

    mysql_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    redis_control_url: SecretStr | None = None
    var_dir: Path = Field(default_factory=lambda: project_root() / "var")
    lake_uri: str = ""
    hot_months: int = Field(default=3, ge=1)
    storage_patience_s: float = Field(default=120.0, ge=0)
    """How long MySQL or the object store may be away, while it is retried with backoff, before work on it gives up."""
    budget_share: float = Field(default=0.8, gt=0, le=1)
    exchanges_file: Path = Field(default_factory=lambda: include_dir() / "exchanges.yaml")
    """How the live sidecar behaves."""
    symbols_file: Path = Field(default_factory=lambda: include_dir() / "symbols.yaml")
    quality_file: Path = Field(default_factory=lambda: include_dir() / "quality.yaml")
    """The thresholds of the daily rules."""
    missing_allowed_percent: float = Field(default=0.05, ge=0, le=100)
    """How much of what the exchange has may be missing of a month, in percent, as the specification says."""
    retention_file: Path = Field(default_factory=lambda: include_dir() / "retention.yaml")
    """How long what is kept, where not for ever."""
    reports_days: int = Field(default=90, ge=1)
    """How long quality reports and data docs are kept."""
    pagerduty_url: Url = PAGERDUTY_EVENTS
    pagerduty_routing_key: SecretStr | None = None
    """Who is paged; unset: nobody by PagerDuty."""
    alertmanager_url: Url | None = None
    """An Alertmanager that routes pages; unset: none."""

    binance_spot_rest_url: Url = BINANCE_SPOT_REST
    binance_um_rest_url: Url = BINANCE_UM_REST
    binance_vision_url: Url = BINANCE_VISION
    binance_vision_list_url: Url | None = None
    binance_spot_ws_url: Url = BINANCE_SPOT_WS
    binance_um_ws_url: Url = BINANCE_UM_WS

    s3_endpoint_url: Url | None = None
    aws_access_key_id: SecretStr | None = Field(default=None, validation_alias=AliasChoices("AWS_ACCESS_KEY_ID"))
    aws_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("AWS_SECRET_ACCESS_KEY")
    )
    aws_region: str | None = Field(default=None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))

    @field_validator("mysql_url")
    @classmethod
    def _mysql(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked(value, ("mysql",), "mysql://user:password@host:3306/database", needs_path=True)

    @field_validator("redis_url", "redis_control_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked(value, ("redis", "rediss"), "redis://:password@host:6379/0", needs_path=False)

    @field_validator("pagerduty_url", "alertmanager_url")
    @classmethod
    def _web(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("write http://host:port or https://host/path")
        return value

    @field_validator("lake_uri")
    @classmethod
    def _lake(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("file", "s3"):
            raise ValueError("write file:///folder or s3://bucket/prefix")
        return value.rstrip("/")

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: object) -> object:
        """An empty variable means unset, as in a shell; only the listing URL knows an empty value of its own."""
        if not isinstance(values, dict):
            return values
        return {k: v for k, v in values.items() if v != "" or k == "binance_vision_list_url"}

    @property
    def lake(self) -> str:
        """The lake's URI; `file://<var>/lake` unless set."""
        return self.lake_uri or f"file://{self.var_dir.resolve()}/lake"

    @property
    def spool_dir(self) -> Path:
        """Where work that outgrows memory rests on its way into the lake; a demonstration's lies apart."""
        home = self.var_dir / "demo" if self.mode == "demo" else self.var_dir
        return home / "spool"

    @property
    def data_docs_dir(self) -> Path:
        """Where the pages of the quality reports are built; a demonstration's lie apart from real ones."""
        home = self.var_dir / "demo" if self.mode == "demo" else self.var_dir
        return home / "data_docs"

    @property
    def vision_list_url(self) -> str | None:
        """The archive's bucket listing, or None for `do not list` (it is only a hint)."""
        if self.binance_vision_list_url is not None:
            return self.binance_vision_list_url or None
        return BINANCE_VISION_LIST if self.binance_vision_url == BINANCE_VISION else None

    @property
    def control_url(self) -> str | None:
        """Redis for budget, bans and locks; the live server's database 1 unless set."""
        if self.redis_control_url:
            return self.redis_control_url.get_secret_value()
        if not self.redis_url:
            return None
        return urlsplit(self.redis_url.get_secret_value())._replace(path="/1").geturl()

    def rest_url(self, market: Literal["spot", "um"] | str) -> str:
        """The REST base of a market, without a trailing slash."""
        return self.binance_spot_rest_url if market == "spot" else self.binance_um_rest_url

    def ws_url(self, market: Literal["spot", "um"] | str) -> str:
        """The WebSocket base of a market, without a route."""
        return self.binance_spot_ws_url if market == "spot" else self.binance_um_ws_url

    def proxy_for(self, url: str) -> str | None:
        """The proxy that `HTTPS_PROXY` or `HTTP_PROXY` names for a URL, unless `NO_PROXY` has its host.

        `wss://` goes by what is said of `https://`, `ws://` by `http://`; a proxy without a scheme speaks HTTP.
        """
        parts, proxies = urlsplit(url), getproxies()
        scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
        proxy = proxies.get(scheme)
        if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings, file_secret_settings


def _checked(value: SecretStr | None, schemes: tuple[str, ...], example: str, *, needs_path: bool) -> SecretStr | None:
    if value is None:
        return None
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in schemes or not parts.hostname or (needs_path and not parts.path.strip("/")):
        raise ValueError(f"write {example}")
    return value


def environment() -> dict[str, str]:
    """A copy of this process's environment, for the native stack, which hands parts of it to the servers it starts."""
    return dict(os.environ)


def load_settings(*, native: bool = True, **overrides: object) -> Settings:
    """Settings from all sources, with `overrides` on top.

    Args:
        native: whether to read `<var>/gapless.env` too; the native stack itself asks what the user alone has set.

    Raises:
        ConfigError: a value is wrong; one line names the variable and what to write.
    """
    own = project_root() / ".env"
    given: dict[str, object] = {"_secrets_dir": SECRETS_DIR if SECRETS_DIR.is_dir() else None, **overrides}
    try:
        if not native:
            return Settings(_env_file=(own,), **given)  # type: ignore[call-arg,arg-type]
        var = Settings(_env_file=(own,), **given).var_dir  # type: ignore[call-arg,arg-type]
        return Settings(_env_file=(var / "gapless.env", own), **given)  # type: ignore[call-arg,arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        variable = name if name.startswith("AWS_") else f"GAPLESS_{name.upper()}"
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{variable} is wrong: {reason}") from None


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    return load_settings()
