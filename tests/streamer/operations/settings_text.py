"""`include/exchanges.yaml` as it must be: every key of every section, with its default and what it means.

`python -m tests.streamer.operations.settings_text > include/exchanges.yaml` brings it up to date.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any

import msgspec
import yaml

from streamer.operations.settings_file import StreamerSettings

HEAD = """\
# How the live sidecar behaves (`gapless stream`, docs/stream.md). What it streams is in symbols.yaml.
# Read when it starts. GAPLESS_EXCHANGES_FILE names another file. A key that is left out has the value shown here; one
# that is unknown, or a value that makes no sense, stops the start with a line that names it.
"""
_WIDTH = 118


def rendered() -> str:
    """The whole file."""
    about = documented(StreamerSettings)
    parts = [HEAD]
    for section in msgspec.structs.fields(StreamerSettings):
        type_ = type(section.default)
        meanings = documented(type_)
        lines = [comment(about[section.name]), f"{section.name}:"]
        for field in msgspec.structs.fields(type_):
            lines.append(textwrap.indent(comment(meanings[field.name]), "  "))
            lines.append(f"  {field.name}: {written(getattr(section.default, field.name))}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def documented(type_: type) -> dict[str, str]:
    """What stands below each field of a Struct as its docstring; a field without one is an error."""
    body = ast.parse(textwrap.dedent(inspect.getsource(type_))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for node, below in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            assert is_text, f"{type_.__name__}.{node.target.id} needs a docstring: what it means, in which unit"
            found[node.target.id] = " ".join(str(below.value.value).split())  # type: ignore[union-attr]
    return found


def comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text.replace("`", ""), _WIDTH - 4, initial_indent="# ", subsequent_indent="# "))


def written(value: Any) -> str:
    """A value in YAML, on one line."""
    plain = msgspec.to_builtins(value)
    text = yaml.safe_dump(plain, default_flow_style=True, width=1_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


if __name__ == "__main__":
    sys.stdout.write(rendered())
