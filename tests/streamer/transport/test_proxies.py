"""Which proxy a connection goes by, as the environment has it."""

from __future__ import annotations

import pytest

from gapless.config import Settings

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "wss://stream.binance.com:9443/stream", None),
        (
            {"HTTPS_PROXY": "http://desk:pw@10.0.0.1:3128"},
            "wss://stream.binance.com:9443/x",
            "http://desk:pw@10.0.0.1:3128",
        ),
        ({"https_proxy": "10.0.0.1:3128"}, "wss://fstream.binance.com/market/stream", "http://10.0.0.1:3128"),
        ({"HTTPS_PROXY": "http://10.0.0.1:3128"}, "ws://127.0.0.1:9001/stream", None),
        ({"HTTP_PROXY": "http://10.0.0.1:3128"}, "ws://replica:9001/stream", "http://10.0.0.1:3128"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "binance.com"}, "wss://stream.binance.com:9443/x", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1,localhost"}, "ws://127.0.0.1:9001/x", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "wss://stream.binance.com:9443/x", None),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().proxy_for(url) == proxy
