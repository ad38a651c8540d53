"""One-shot of docker-compose.yaml: passwords and keys, made once, each laid where only its reader's container sees it.

Nothing is printed and nothing is made twice: what exists stays, because the databases were made with it.
`/secrets/<service>` is a volume of that service alone; `/opt/gapless/var` is read by Gapless and Airflow.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
from pathlib import Path

SECRETS = Path("/secrets")
VAR = Path("/opt/gapless/var")
OWNER = "gapless"
ACCESS_KEY = "gapless-lake"


def keep(path: Path, text: str, *, mode: int) -> str:
    """The file's text; written first if there is no such file. Atomic: a killed one-shot leaves no half secret."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.new")
        made.touch(mode=0o600)
        made.write_text(text)
        made.chmod(mode)
        made.replace(path)
    return path.read_text()


def shared(service: str, name: str, text: str = "") -> str:
    """A secret of a service that does not run as root: the volume, mounted nowhere else, is what keeps it."""
    return keep(SECRETS / service / name, text or secrets.token_hex(20), mode=0o444)


def own(name: str, text: str) -> str:
    """A file of Gapless or Airflow, for their user alone."""
    kept = keep(VAR / name, text, mode=0o600)
    shutil.chown(VAR / name, OWNER, OWNER)
    return kept


def main() -> None:
    database, lake = os.environ["DATABASE"], os.environ["LAKE_URI"]
    shared("mysql", "root_password")
    mysql = shared("mysql", "password")
    redis = shared("redis", "password")
    shared("redis", "redis.conf", f"requirepass {redis}\nprotected-mode no\n")
    postgres = shared("postgres", "password")
    shared("minio", "user", ACCESS_KEY)
    minio = shared("minio", "password")
    shutil.chown(VAR, OWNER, OWNER)
    (VAR / "airflow").mkdir(mode=0o700, exist_ok=True)
    shutil.chown(VAR / "airflow", OWNER, OWNER)
    own(
        "gapless.env",
        f"GAPLESS_MYSQL_URL=mysql://gapless:{mysql}@mysql:3306/{database}\n"
        f"GAPLESS_REDIS_URL=redis://:{redis}@redis:6379/0\n"
        f"GAPLESS_LAKE_URI={lake}\n"
        "GAPLESS_S3_ENDPOINT_URL=http://minio:9000\n"
        f"AWS_ACCESS_KEY_ID={ACCESS_KEY}\n"
        f"AWS_SECRET_ACCESS_KEY={minio}\n"
        "AWS_REGION=us-east-1\n",
    )
    own("airflow/metadata_url", f"postgresql+psycopg2://airflow:{postgres}@postgres:5432/airflow")
    own("airflow/fernet_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    own("airflow/jwt_secret", secrets.token_hex(32))
    own("airflow/api_secret", secrets.token_hex(32))
    own("airflow/passwords.json", json.dumps({"admin": secrets.token_urlsafe(12)}))


main()
