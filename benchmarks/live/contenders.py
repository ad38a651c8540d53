"""Who is measured: cryptofeed in an environment of its own, and our own command, each as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.live.machine import ROOT, BareRedis, SenderHandle, pinned

CRYPTOFEED = "cryptofeed==2.4.1"
_NEEDS = (CRYPTOFEED, "redis[hiredis]==8.1.0", "uvloop==0.23.0")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to take the feed into Redis.

    Attributes:
        options: of our command; None: another program than ours.
        books: whether it keeps order books, and so asks for a snapshot of each.
    """

    name: str
    options: tuple[str, ...] | None
    books: bool = True


THEIRS = Contender("cryptofeed 2.4.1", None)
LEAST = Contender("the least there is", None, books=False)
"""See `least_run`."""
OURS = Contender("ours, picows", ("--transport", "picows"))
OURS_WEBSOCKETS = Contender("ours, websockets", ("--transport", "websockets"))
OURS_RAW = Contender("ours, picows, no books", ("--transport", "picows", "--no-books"), books=False)


def cryptofeed_python() -> Path:
    """The interpreter of an environment with cryptofeed in it, made in the user's cache when it is missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gapless" / "bench-venvs"
    place = home / CRYPTOFEED.replace("==", "-")
    python = place / "bin" / "python"
    if not (place / "whole").exists():
        print(f"  installing {CRYPTOFEED} into an environment of its own, once", flush=True)
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(place)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *_NEEDS], check=True)
        (place / "whole").touch()
    return python


def start(
    contender: Contender,
    sender: SenderHandle,
    redis: BareRedis,
    home: Path,
    on: frozenset[int],
    *,
    stamps: Path | None = None,
    channels: str = "depth,trades",
    port: int = 0,
    mysql_url: str = "",
) -> subprocess.Popen[bytes]:
    """Start it; what it says goes to a file in `home`. Ours answers `/readyz` on `port`.

    Args:
        mysql_url: where ours stores bars; nowhere unless given.
    """
    log = (home / f"{contender.name.replace(' ', '_')}.log").open("ab")
    if contender == LEAST:
        command = [sys.executable, "-m", "benchmarks.live.least_run", str(sender.port), str(redis.port), str(stamps)]
        return pinned(command, on, stdout=log, stderr=log, cwd=ROOT)
    if contender.options is None:
        script = str(ROOT / "benchmarks" / "live" / "cryptofeed_run.py")
        command = [str(cryptofeed_python()), script, str(sender.port), str(redis.port)]
        return pinned([*command, *([str(stamps)] if stamps else [])], on, stdout=log, stderr=log, cwd=home)
    web = f"http://127.0.0.1:{sender.port}"
    values = {
        "GAPLESS_REDIS_URL": redis.url,
        "GAPLESS_VAR_DIR": str(home / "var"),
        "GAPLESS_BINANCE_SPOT_REST_URL": web,
        "GAPLESS_BINANCE_UM_REST_URL": web,
        "GAPLESS_BINANCE_SPOT_WS_URL": web.replace("http", "ws"),
        "GAPLESS_BINANCE_UM_WS_URL": web.replace("http", "ws"),
        "GAPLESS_MYSQL_URL": mysql_url,
    }
    words = [
        "stream",
        "--symbols",
        "all:USDT",
        "--market",
        "spot",
        "--channels",
        channels,
        "--port",
        str(port),
        *contender.options,
    ]
    return pinned(
        [sys.executable, "-m", "benchmarks.live.ours_run", str(stamps or "-"), *words], on,
        stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **values},
    )  # fmt: skip
