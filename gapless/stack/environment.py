"""What a service's environment begins with: a chosen part of the starter's own, and the stack's marks."""

from __future__ import annotations

from collections.abc import Mapping

from gapless.stack.layout import Layout
from gapless.stack.ports import LOOPBACK
from gapless.stack.service import MARKER

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NAMES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *_CERTIFICATES,
        *_PROXIES,
        *(name.lower() for name in _PROXIES),
    )
)
_PREFIXES = ("LC_", "GAPLESS_", "AWS_", "AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_")


def base_environment(everything: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """The part of the environment `everything` that services get, with what every service needs.

    Only what they have a use for is handed on (language, certificates, proxies, cloud credentials, settings of Gapless
    and Airflow): a start from another shell gives the same services, and the shell's other secrets stay where they are.
    """
    kept = {name: value for name, value in everything.items() if name in _NAMES or name.startswith(_PREFIXES)}
    if any(name.lower().endswith("_proxy") for name in kept):
        direct = [*filter(None, kept.get("NO_PROXY", kept.get("no_proxy", "")).split(","))]
        direct += [host for host in (LOOPBACK, "localhost") if host not in direct]
        kept["NO_PROXY"] = kept["no_proxy"] = ",".join(direct)
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    kept["PYTHONUNBUFFERED"] = "1"
    kept["GAPLESS_VAR_DIR"] = str(layout.var)
    kept[MARKER] = layout.stack_id
    return kept
