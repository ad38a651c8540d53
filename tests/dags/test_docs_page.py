"""The data docs inside Airflow's own API server: who may read them, what is served, and what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gapless.config import project_root

PASSWORDS = {"admin": "of-the-admin", "viewer": "of-the-viewer"}


@pytest.fixture(scope="module")
def server(airflow: Path) -> Iterator[Any]:
    """Airflow's API server as an application, its plugins loaded, two users known."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    passwords = airflow / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin,viewer:viewer")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        patch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET", "for-tests-alone-and-long-enough-for-the-algorithm-512-bits-0123456789"
        )
        purge_cached_app()
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pages lie; nothing is built yet."""
    monkeypatch.setenv("GAPLESS_VAR_DIR", str(tmp_path / "var"))
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "keys.json").write_text("a secret")
    return tmp_path / "var" / "data_docs"


def build(docs: Path, name: str = "quality", page: str = "<h1>All reports</h1>") -> Path:
    site = docs / name
    (site / "static").mkdir(parents=True)
    (site / "index.html").write_text(page)
    (site / "static" / "style.css").write_text("h1 {color: navy}")
    return site


def token(server: Any, user: str) -> str:
    answer = TestClient(server).post("/auth/token", json={"username": user, "password": PASSWORDS[user]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["access_token"])


@pytest.fixture
def client(server: Any) -> TestClient:
    """A viewer's client: who may only look may read the reports."""
    return TestClient(server, headers={"Authorization": f"Bearer {token(server, 'viewer')}"})


@pytest.mark.parametrize(
    "path", ["", "quality/index.html", "quality/static/style.css", "openapi.json", "docs", "nowhere"]
)
def test_without_a_login_nothing_is_shown(server: Any, docs: Path, path: str) -> None:
    build(docs)
    anonymous = TestClient(server)
    assert anonymous.get(f"/data-docs/{path}").status_code == 401
    forged = anonymous.get(f"/data-docs/{path}", headers={"Authorization": "Bearer not.a.token"})
    assert forged.status_code == 403
    assert "All reports" not in forged.text


def test_the_logins_cookie_is_enough_as_inside_the_ui(server: Any, docs: Path) -> None:
    build(docs)
    browser = TestClient(server, cookies={"_token": token(server, "admin")})
    assert "All reports" in browser.get("/data-docs/").text


def test_before_the_first_report_the_page_says_how_to_get_one(client: TestClient, docs: Path) -> None:
    answer = client.get("/data-docs/")
    assert answer.status_code == 200
    assert "quality_daily" in answer.text
    assert not docs.exists(), "looking makes nothing"


def test_a_site_is_served_with_its_assets_as_soon_as_it_is_built(client: TestClient, docs: Path) -> None:
    assert "No reports yet" in client.get("/data-docs/").text
    build(docs)
    first = client.get("/data-docs/")
    assert first.url.path == "/data-docs/quality/index.html"
    assert first.text == "<h1>All reports</h1>"
    style = client.get("/data-docs/quality/static/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert client.get("/data-docs/quality/").text == first.text
    assert client.head("/data-docs/quality/index.html").status_code == 200


def test_a_page_may_neither_fetch_from_elsewhere_nor_be_framed_elsewhere(client: TestClient, docs: Path) -> None:
    build(docs)
    policy = client.get("/data-docs/quality/index.html").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "http" not in policy
    assert client.get("/data-docs/quality/index.html").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "..%2fkeys.json",
        "quality/..%2f..%2fkeys.json",
        "quality/%2e%2e/%2e%2e/keys.json",
        "%2fetc%2fpasswd",
        "quality/out/keys.json",
        "quality/keys",
        ".half-built/index.html",
        "quality/.hidden",
        "quality/%00",
        "quality/" + "x" * 5000,
    ],
)
def test_nothing_outside_the_pages_is_served(client: TestClient, docs: Path, path: str) -> None:
    site = build(docs)
    (site / "out").symlink_to(docs.parent)
    (site / "keys").symlink_to(docs.parent / "keys.json")
    (site / ".hidden").write_text("a secret")
    build(docs, ".half-built")
    answer = client.get(f"/data-docs/{path}")
    assert answer.status_code == 404
    assert "a secret" not in answer.text
    assert "retention.yaml" in answer.text, "a reader whose report has gone is told why"
    assert '<a href="/data-docs/">' in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(client: TestClient, docs: Path, method: str) -> None:
    site = build(docs)
    assert client.request(method, "/data-docs/quality/index.html").status_code == 405
    assert (site / "index.html").read_text() == "<h1>All reports</h1>"


def test_a_demonstrations_reports_are_not_among_the_real_ones(
    client: TestClient, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(docs)
    monkeypatch.setenv("GAPLESS_MODE", "demo")
    assert "No reports yet" in client.get("/data-docs/").text


def test_the_side_bar_has_it_and_no_plugin_failed_to_load(server: Any, docs: Path) -> None:
    admin = TestClient(server, headers={"Authorization": f"Bearer {token(server, 'admin')}"})
    assert admin.get("/api/v2/plugins/importErrors").json() == {"import_errors": [], "total_entries": 0}
    plugins = {plugin["name"]: plugin for plugin in admin.get("/api/v2/plugins").json()["plugins"]}
    view = plugins["gapless_quality_page"]["external_views"][0]
    assert (view["name"], view["destination"]) == ("Data docs", "nav")
    assert TestClient(server, headers=dict(admin.headers)).get("/" + view["href"].lstrip("/")).status_code == 200


def test_a_process_that_only_reads_the_plugins_does_not_pay_for_the_page(airflow: Path) -> None:
    script = """
import sys, quality_page
print(*(name in sys.modules for name in ("airflow.api_fastapi.core_api", "fastapi")))"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(project_root() / "plugins")},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["False", "False"]
