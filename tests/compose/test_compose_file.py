"""What docker-compose.yaml must keep to, read as data: no container is started here."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices

from gapless import config
from gapless.cli import archive_streams, metrics
from gapless.config import Settings, load_settings, project_root
from streamer.operations.command import add_arguments as add_stream_arguments
from streamer.operations.settings_file import StreamerSettings

ROOT = project_root()
DOCKERFILES = ("Dockerfile", "streamer.Dockerfile")
ONE_SHOTS = {"secrets", "migrate"}
SECRET_WORDS = (
    "PASSWORD",
    "SECRET",
    "TOKEN",
    "FERNET",
    "SQL_ALCHEMY_CONN",
    "MYSQL_URL",
    "REDIS_URL",
    "ACCESS_KEY",
    "ROUTING_KEY",
)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return document


def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("# ---")]
    return dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"(# )?[A-Z][A-Z0-9_]+=", line))


def known_settings() -> set[str]:
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names |= set(map(str, alias.choices)) if isinstance(alias, AliasChoices) else {f"GAPLESS_{name.upper()}"}
    return names


def test_every_published_port_is_bound_to_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in services(compose).values() for port in service.get("ports", ())]
    assert published
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z0-9_]+:-\d+\}:\d+", port), f"{port}: 127.0.0.1:${{NAME:-port}}:port"


def test_published_ports_do_not_collide(compose: dict[str, Any]) -> None:
    ports = [port.split(":-")[1].split("}")[0] for s in services(compose).values() for port in s.get("ports", ())]
    assert len(ports) == len(set(ports))


def test_no_service_takes_the_hosts_network_or_more_rights(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        assert service.get("network_mode") in (None, "none", "service:scheduler"), name
        assert not service.get("privileged"), name
        assert "cap_add" not in service, name


def test_every_image_is_pinned_to_a_version(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        tag = service["image"].partition(":")[2]
        assert re.search(r"\d", tag), f"{name}: {service['image']} has no version"
        assert tag != "latest", name
    for line in (line for name in DOCKERFILES for line in (ROOT / "deploy" / name).read_text().splitlines()):
        if line.startswith("FROM"):
            assert re.match(r"FROM \S+:\d[\w.-]+", line), f"{line}: pin it"


def test_everything_that_stays_is_watched_and_started_again(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        if name in ONE_SHOTS:
            assert service["restart"] == "no", f"{name}: a one-shot must end"
            continue
        assert service["healthcheck"]["test"], f"{name}: `up --wait` waits for health"
        assert service["restart"] == "unless-stopped", name


def test_servers_start_after_their_secrets_and_airflow_after_the_migration(compose: dict[str, Any]) -> None:
    found = services(compose)
    for name in ("mysql", "redis", "minio", "postgres"):
        assert found[name]["depends_on"]["secrets"]["condition"] == "service_completed_successfully", name
    assert found["api-server"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name in ("scheduler", "dag-processor", "triggerer"):
        assert found[name]["depends_on"]["api-server"]["condition"] == "service_healthy", name


def test_no_secret_stands_in_the_file(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in SECRET_WORDS):
                assert variable.endswith(("_FILE", "_CMD")), f"{name}: {variable} holds a secret; point at a file"
                assert "/run/gapless/" in value or "/opt/gapless/var/" in value, f"{name}: {variable}"


def test_the_pagers_key_is_a_file_that_every_service_of_ours_reads(
    compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "GAPLESS_PAGERDUTY_ROUTING_KEY"
    assert name in known_settings()
    for service in ("scheduler", "dag-processor", "api-server"):
        assert services(compose)[service]["secrets"] == [name], service
    default = compose["secrets"][name]["file"].split(":-")[1].rstrip("}")
    assert (ROOT / default).read_bytes() == b"", "as it comes nobody is paged"

    monkeypatch.setattr(config, "SECRETS_DIR", tmp_path)
    (tmp_path / name).write_text("")
    assert load_settings(native=False).pagerduty_routing_key is None
    (tmp_path / name).write_text("of-the-file\n")
    key = load_settings(native=False).pagerduty_routing_key
    assert key is not None
    assert key.get_secret_value() == "of-the-file"
    monkeypatch.setenv(name, "of-the-environment")
    key = load_settings(native=False).pagerduty_routing_key
    assert key is not None
    assert key.get_secret_value() == "of-the-environment", "the environment wins"
    monkeypatch.setattr(config, "SECRETS_DIR", tmp_path / "nowhere")
    assert load_settings(native=False).mode == "real"


def test_metrics_are_the_command_of_the_native_start(compose: dict[str, Any]) -> None:
    words = services(compose)["metrics"]["command"].split()
    assert words[0] == "gapless"
    parser = argparse.ArgumentParser()
    metrics.add(parser.add_subparsers())
    asked = parser.parse_args(words[1:])
    published = services(compose)["metrics"]["ports"][0].rpartition(":")[2]
    assert (asked.serve, asked.host, asked.port) == (True, "0.0.0.0", int(published))


def test_streams_are_archived_by_the_command_of_the_native_start(compose: dict[str, Any]) -> None:
    service = services(compose)["archive-streams"]
    parser = argparse.ArgumentParser()
    archive_streams.add(parser.add_subparsers())
    assert not parser.parse_args(service["command"].split()[1:]).once
    assert parser.parse_args(service["healthcheck"]["test"][2:]).status
    assert service["hostname"] == "archive-streams", "a name that stays, or what one left waits to be claimed"
    assert "gapless-var:/opt/gapless/var" in service["volumes"], "where the tasks find the spool"


@pytest.mark.parametrize("name", ["streamer", "streamer-demo"])
def test_the_sidecar_is_the_command_with_an_image_of_its_own(compose: dict[str, Any], name: str) -> None:
    service = services(compose)[name]
    words = service["command"].split()
    parser = argparse.ArgumentParser()
    add_stream_arguments(parser)
    asked = parser.parse_args(words[3:])
    assert words[:3] == ["python", "-m", "streamer"]
    assert service["build"]["dockerfile"] == "deploy/streamer.Dockerfile"
    assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1:{asked.port}/healthz"
    assert "gapless-var:/opt/gapless/var" in service["volumes"], "where its settings are and its spool"
    assert "./include:/opt/gapless/include:ro" in service["volumes"], "the list of symbols is followed while it runs"
    assert int(service["stop_grace_period"].removesuffix("s")) > StreamerSettings().operations.stop_s


def test_the_sidecar_is_reached_from_outside_its_container(compose: dict[str, Any]) -> None:
    service = services(compose)["streamer"]
    published = service["ports"][0].rpartition(":")[2]
    assert f"--host 0.0.0.0 --port {published}" in service["command"]


def test_one_sidecar_alone_streams_the_demonstration(compose: dict[str, Any]) -> None:
    demo = read_env(ROOT / "deploy" / "demo.env")
    assert services(compose)["streamer"]["scale"] == "${COMPOSE_STREAMERS:-1}"
    assert demo["COMPOSE_STREAMERS"] == "0"
    assert services(compose)["streamer-demo"]["profiles"] == ["demo"]
    words = services(compose)["replica"]["command"].split()
    ports = {"SPOT": words[words.index("--port") + 1], "UM": words[words.index("--um-ws-port") + 1]}
    for market, port in ports.items():
        assert demo[f"GAPLESS_BINANCE_{market}_WS_URL"] == f"ws://127.0.0.1:{port}", "the replica serves it there"


def test_files_that_an_operator_edits_are_mounted_and_exist(compose: dict[str, Any]) -> None:
    mounted = [v.split(":")[0] for v in services(compose)["scheduler"]["volumes"] if v.startswith("./")]
    assert set(mounted) == {f"./include/{name}.yaml" for name in ("symbols", "quality", "retention")}
    assert all((ROOT / path).is_file() for path in mounted), "docker would make a folder of what is missing"


def test_each_servers_secrets_are_mounted_by_it_alone(compose: dict[str, Any]) -> None:
    readers: dict[str, set[str]] = {}
    for name, service in services(compose).items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.endswith("-secrets"):
                readers.setdefault(source, set()).add(name)
                assert name == "secrets" or volume.endswith(":ro"), f"{name}: mount {source} read-only"
    assert readers == {f"{name}-secrets": {"secrets", name} for name in ("mysql", "redis", "minio", "postgres")}


def test_every_setting_it_names_is_one_that_gapless_reads(compose: dict[str, Any]) -> None:
    named = {
        v for s in services(compose).values() for v in s.get("environment", {}) if v.startswith(("GAPLESS_", "AWS_"))
    }
    assert named, "the services say nothing to Gapless"
    assert named <= known_settings(), f"unknown to gapless.config.Settings: {sorted(named - known_settings())}"


def test_settings_that_the_one_shot_writes_are_ones_that_gapless_reads() -> None:
    script = (ROOT / "deploy" / "compose" / "make_secrets.py").read_text()
    written = set(re.findall(r'"((?:GAPLESS|AWS)_[A-Z0-9_]+)=', script))
    assert {"GAPLESS_MYSQL_URL", "GAPLESS_REDIS_URL", "GAPLESS_LAKE_URI"} <= written
    assert written <= known_settings(), sorted(written - known_settings())


@pytest.mark.parametrize("path", [".env.example", "deploy/demo.env"])
def test_every_name_in_the_environment_files_has_a_reader(path: str) -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    interpolated = set(re.findall(r"\$\{([A-Z0-9_]+)", text)) | {"HTTPS_PROXY", "HTTP_PROXY"}
    by_compose_itself = {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"}
    named = set(read_env(ROOT / path))
    assert named
    assert named <= interpolated | by_compose_itself | known_settings(), sorted(named)


def test_the_demonstration_is_apart_in_project_database_lake_and_name() -> None:
    demo = read_env(ROOT / "deploy" / "demo.env")
    assert demo["GAPLESS_MODE"] == "demo"
    assert demo["COMPOSE_PROJECT_NAME"] != "gapless"
    assert demo["COMPOSE_DATABASE"] == "gapless_demo"
    assert demo["COMPOSE_LAKE_URI"] == "s3://lake/demo"
    assert demo["COMPOSE_PROFILES"] == "demo"


@pytest.mark.parametrize(
    ("name", "lock"), [("Dockerfile", "requirements.txt"), ("streamer.Dockerfile", "requirements-streamer.txt")]
)
def test_the_image_installs_by_hash_and_runs_as_nobody_special(name: str, lock: str) -> None:
    lines = (ROOT / "deploy" / name).read_text().splitlines()
    assert any(f"--require-hashes -r {lock}" in line for line in lines)
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER gapless"]


def test_the_image_gets_no_data_secrets_or_history() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "everything is kept out that is not named"
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert not taken & {".env", "var", ".git", ".venv", "tests"}
    assert {"gapless", "dags", "plugins", "include", "deploy/airflow", "deploy/compose", "requirements.txt"} <= taken


def test_what_the_sidecars_image_copies_is_there_for_it() -> None:
    taken = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = (ROOT / "deploy" / "streamer.Dockerfile").read_text().splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert "deploy/requirements-streamer.txt" in copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(path == each or path.startswith(f"{each}/") for each in taken), f"{path} is kept out"


def test_the_sidecar_installs_a_part_of_what_all_others_do_and_no_more() -> None:
    def pins(path: str) -> set[str]:
        return {line.split(" ")[0] for line in (ROOT / path).read_text().splitlines() if re.match(r"\w", line)}

    small, whole = pins("deploy/requirements-streamer.txt"), pins("requirements.txt")
    assert small <= whole
    names = {pin.partition("==")[0] for pin in small}
    assert not names & {"apache-airflow", "pandas", "great-expectations", "matplotlib", "scipy"}
    assert {"picows", "websockets", "redis", "msgspec", "mysqlclient"} <= {name.partition("[")[0] for name in names}
    assert len(small) < len(whole) / 2


def test_secrets_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one-shot itself, its folders moved here: a second run changes no byte; files carry the narrowest rights."""
    import runpy
    import shutil

    script = (ROOT / "deploy" / "compose" / "make_secrets.py").read_text()
    moved = script.replace('"/secrets"', f'"{tmp_path}/secrets"').replace('"/opt/gapless/var"', f'"{tmp_path}/var"')
    copy = tmp_path / "one_shot.py"
    copy.write_text(moved)
    (tmp_path / "var").mkdir()
    monkeypatch.setenv("DATABASE", "gapless")
    monkeypatch.setenv("LAKE_URI", "s3://lake/gapless")
    monkeypatch.setattr(shutil, "chown", lambda *_: None)

    def contents() -> dict[str, bytes]:
        files = (path for folder in ("secrets", "var") for path in (tmp_path / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}

    runpy.run_path(str(copy))
    first = contents()
    runpy.run_path(str(copy))
    assert contents() == first
    assert "var/gapless.env" in first
    assert "secrets/mysql/root_password" in first
    assert len(set(first.values())) == len(first), "no secret serves twice"
    for name in first:
        mode = (tmp_path / name).stat().st_mode & 0o777
        assert mode == (0o600 if name.startswith("var/") else 0o444), name
