"""The data docs on disk: whole without a network, published by one rename, listed, kept for a time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from gapless.domain.window import DAY_MS, Window
from gapless.errors import StorageError
from gapless.pipeline.quality.docs import SITE, assets_dir, building, publish, sweep_docs
from gapless.pipeline.quality.expectations import run_expectations
from gapless.quality.expectations import SUITES, ExpectationsReport, SuiteResult
from gapless.quality.expectations.offline import loads_from_elsewhere
from tests.pipeline.conftest import Installation

DAY = Window.of("2026-11-13", "2026-11-14")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>document.title = 'taken'</script>"


def report(run: str = "a", day: str = "2026-11-13") -> ExpectationsReport:
    suites = tuple(SuiteResult(each.name, each.table, 1, 1, 1, "clean") for each in SUITES)
    return ExpectationsReport(day, "clean", suites, "reports/x.json", "", 1.0, run)


def put(home: Path, run: str = "a", day: str = "2026-11-13", page: str = "<html>gx</html>") -> Path:
    """Publish pages as Great Expectations leaves them."""
    with building(home) as folder:
        detail = folder / "gx" / "validations" / "ohlcv" / "run" / "time" / "gapless-ohlcv.html"
        detail.parent.mkdir(parents=True)
        detail.write_text(page)
        (folder / "gx" / "static" / "images").mkdir(parents=True)
        return publish(home, folder, report(run, day), SUITES, kept_days=90)


def left_over(home: Path) -> list[Path]:
    return list((home / ".building").iterdir())


@pytest.fixture
def site(installation: Installation) -> Path:
    """The site of a real run, over an instrument and a refused row with names that would be markup."""
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO instrument (exchange, symbol, market, raw_symbol, base, quote, status, contract_multiplier, "
            "seen_at) VALUES ('binance', %s, 'spot', '', 'A', 'B', 'T', 1, NOW())",
            ("<script>1</script>/X",),
        )
        connection.exec_driver_sql(
            "INSERT INTO data_gap_log (exchange, symbol, dataset, `interval`, gap_start, gap_end, bars, attempts, "
            "state, cause, noticed_at, changed_at) VALUES ('binance', 'A/B', 'ohlcv', '1m', '2026-11-13', "
            "'2026-11-13 00:01', 1, 3, 'failed', %s, NOW(), NOW())",
            (EVIL,),
        )
    with installation.open() as rt:
        found = run_expectations(rt, DAY, run_id="quality_daily/manual__1", link="http://127.0.0.1:8080/runs/1")
    assert (found.docs_failure, found.state) == ("", "dirty")
    return installation.settings.data_docs_dir / SITE


def test_no_page_of_a_real_site_loads_anything_from_elsewhere_and_nothing_is_missing(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 2 + 1 + 2 * len(SUITES)  # the list, the verdict; Great Expectations': its index, two a suite
    for page in pages:
        text = page.read_text()
        assert loads_from_elsewhere(text) == [], page
        assert not re.search(r"https?://(?!127\.0\.0\.1:8080/)[^\s\"'<]*\.(?:js|css|png|woff2?|gif|svg)", text), page
        for tag, way in re.findall(r"<(a|link|script|img)\b[^>]*?\b(?:href|src)=[\"']([^\"'#]+)", text):
            if "${" in way or "$(" in way or way.startswith("http://127.0.0.1:8080/"):
                continue
            assert (page.parent / way.replace("%20", " ")).exists(), (page, tag, way)
    for style in (*site.rglob("*.css"), *site.rglob("*.js")):
        assert not re.search(r"url\(\s*[\"']?https?:|@import", style.read_text()), style


def test_what_the_data_say_is_never_markup_in_a_page(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert EVIL not in page.read_text(), page
        assert "<script>1</script>" not in page.read_text(), page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_without_a_network_shows_the_pages_whole(site: Path, tmp_path: Path) -> None:
    (run,) = (path.parent for path in site.glob("*/*/index.html"))
    (bars,) = (run / "gx" / "validations" / "data_gap_log").rglob("*.html")
    listed, verdict = dom(site / "index.html", tmp_path), dom(run / "index.html", tmp_path)
    assert "data bad" in listed
    assert "What was checked" in verdict
    index = dom(run / "gx" / "index.html", tmp_path)
    assert index.count('data-index="') >= 10  # written by the page's own scripts; none of them without jQuery
    detail = dom(bars, tmp_path)
    assert "a gap that cannot be filled says why" in detail
    assert "row breaks it" in detail
    assert "<title>taken</title>" not in detail


def dom(page: Path, tmp_path: Path) -> str:
    """What a browser makes of a page when no name can be resolved; a script that fails fails the test."""
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--timeout=20000",
         "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", page.as_uri()]
        + (["--no-sandbox"] if os.geteuid() == 0 else []),
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def test_the_assets_name_their_licences() -> None:
    told = (assets_dir() / "LICENSES.txt").read_text()
    ours = {"LICENSES.txt", "gapless.css", "icons.css"}
    assert [each.name for each in assets_dir().iterdir() if each.name not in ours and each.name not in told] == []


def test_pages_that_would_need_the_network_are_not_published(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="would need the network"):
        put(tmp_path, page='<iframe src="https://a.example/chart.html"></iframe>')
    assert not (tmp_path / SITE / "2026-11-13").exists()
    assert left_over(tmp_path) == []


def test_a_run_again_replaces_its_pages_and_leaves_the_others(tmp_path: Path) -> None:
    put(tmp_path, "other")
    put(tmp_path, page="<html>old</html>")
    index = put(tmp_path, page="<html>new</html>")
    assert index == tmp_path / SITE / "2026-11-13" / "a" / "index.html"
    assert [path.read_text() for path in index.parent.rglob("gapless-ohlcv.html")] == ["<html>new</html>"]
    listed = (tmp_path / SITE / "index.html").read_text()
    assert listed.count("2026-11-13/a/index.html") == 1
    assert "2026-11-13/other/index.html" in listed
    assert not list(index.parent.rglob("static"))
    assert left_over(tmp_path) == []


def test_runs_that_publish_at_once_are_all_listed(tmp_path: Path) -> None:
    names = [f"run-{number}" for number in range(8)]
    failed: list[BaseException] = []

    def one(name: str) -> None:
        try:
            for _ in range(3):
                put(tmp_path, name)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    listed = (tmp_path / SITE / "index.html").read_text()
    assert all(f"2026-11-13/{name}/index.html" in listed for name in names)
    assert left_over(tmp_path) == []


def test_old_days_are_swept_with_what_killed_runs_left(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b")
    put(tmp_path, "c", day="2026-11-14")
    dead = tmp_path / ".building" / "killed"
    dead.mkdir()
    now = DAY.end_ms + 90 * DAY_MS
    os.utime(dead, (now / 1000 - 90_000, now / 1000 - 90_000))
    assert sweep_docs(tmp_path, now - 1, 90) == 0
    assert sweep_docs(tmp_path, now, 90) == 2
    assert sorted(path.name for path in (tmp_path / SITE).iterdir()) == ["2026-11-14", "assets", "index.html"]
    assert "2026-11-13" not in (tmp_path / SITE / "index.html").read_text()
    assert left_over(tmp_path) == []


def test_sweeping_where_nothing_was_built_is_nothing(tmp_path: Path) -> None:
    assert sweep_docs(tmp_path / "none", DAY.end_ms, 90) == 0


def test_an_entry_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    put(tmp_path, "a")
    (tmp_path / SITE / "2026-11-13" / "a" / "run.json").write_text("{")
    put(tmp_path, "b")
    listed = (tmp_path / SITE / "index.html").read_text()
    assert "2026-11-13/b/index.html" in listed
    assert "2026-11-13/a/index.html" not in listed
