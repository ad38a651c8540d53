"""`include/exchanges.yaml` as it must be: every key of every section, with its default and what it means.

`python -m tests.streamer.operations.settings_text > include/exchanges.yaml` brings it up to date.
"""

from __future__ import annotations

import ast
import inspect
import re
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
    whole = StreamerSettings()
    parts = [HEAD]
    for name in StreamerSettings.__struct_fields__:
        section = getattr(whole, name)
        parts.append("\n".join([comment(about[name]), f"{name}:", *keys(section, "  ")]) + "\n")
    return "\n".join(parts)


def keys(section: msgspec.Struct, indent: str) -> list[str]:
    """A section's keys, each below what it means; one that has keys itself, deeper."""
    meanings = documented(type(section))
    lines = []
    for name in section.__struct_fields__:
        value = getattr(section, name)
        assert name in meanings, f"{type(section).__name__}.{name} needs a docstring: what it means, in which unit"
        lines.append(textwrap.indent(comment(meanings[name]), indent))
        if isinstance(value, msgspec.Struct):
            lines += [f"{indent}{name}:", *keys(value, indent + "  ")]
        elif isinstance(value, dict):
            kinds = {type(each) for each in value.values() if isinstance(each, msgspec.Struct)}
            deeper = [f"{key}: {text}" for kind in kinds for key, text in documented(kind).items()]
            lines += [textwrap.indent(comment(text), indent) for text in deeper]
            lines += [f"{indent}{name}:", *(f"{indent}  {key}: {written(each)}" for key, each in value.items())]
        else:
            lines.append(f"{indent}{name}: {written(value)}")
    return lines


def documented(type_: type) -> dict[str, str]:
    """What each field of a Struct means: the text below it, or its paragraph of the class's `Attributes:`."""
    body = ast.parse(textwrap.dedent(inspect.getsource(type_))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = listed_attributes(inspect.getdoc(type_) or "")
    for node, below in zip(body.body, [*body.body[1:], None], strict=True):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[node.target.id] = " ".join(str(below.value.value).split())
    return found


def listed_attributes(text: str) -> dict[str, str]:
    """`name: meaning` of the paragraph `Attributes:`, lines that go on joined, in the order of appearance."""
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("Attributes:\n")[2].splitlines():
        head = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if head:
            name, *others = head[1].split(", ")
            found[name] = head[2]
            found.update(dict.fromkeys(others, "likewise"))
        elif line.startswith("        ") and name:
            found[name] += " " + line.strip()
        else:
            break
    return {key: value[0].upper() + value[1:] for key, value in found.items()}


def comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text.replace("`", ""), _WIDTH - 4, initial_indent="# ", subsequent_indent="# "))


def written(value: Any) -> str:
    """A value in YAML, on one line."""
    plain = msgspec.to_builtins(value)
    text = yaml.safe_dump(plain, default_flow_style=True, width=1_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


if __name__ == "__main__":
    sys.stdout.write(rendered())
