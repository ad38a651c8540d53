"""YAML text as typed rules, and what is wrong with it as one line that names the key. Pure."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
import yaml

from gapless.errors import ConfigError

_T = TypeVar("_T")
_WHERE = re.compile(r"^(?P<why>.*?) - at `(\$\.?)?(?P<key>[^`]*)`( in `\$\.?(?P<section>[^`]*)`)?$")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]*)`")
_WORDS = {
    "`object | null`": "keys and values below it",
    "`object`": "keys and values below it",
    "`int | null`": "a whole number, or null",
    "`int`": "a whole number",
    "`float | null`": "a number, or null",
    "`float`": "a number",
    "`str | null`": "text, or null",
    "`str`": "text",
    "`array`": "a list",
    "`bool`": "true or false",
    "`null`": "nothing",
}


def parse_rules(text: str, kind: type[_T], *, where: str, example: str) -> _T:
    """The rules in YAML text; what is left out has its default.

    Args:
        kind: a msgspec Struct. where: names the text in messages. example: the file that has every key.

    Raises:
        ConfigError: not YAML, an unknown key, or a wrong value; one line names the key and what to write.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    if isinstance(document, dict):  # a section whose every key is commented out is read as null
        document = {key: value for key, value in document.items() if value is not None}
    try:
        return msgspec.convert({} if document is None else document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_said(str(error), example)}") from None


def _said(message: str, example: str) -> str:
    """What is wrong, by the key as it stands in the file."""
    found = _WHERE.match(message)
    why, key, section = (found["why"], found["key"], found["section"]) if found else (message, "", None)
    unknown = _UNKNOWN.search(why)
    if unknown:
        name = f"{key}.{unknown['field']}" if key else unknown["field"]
        return f"{name or 'an empty key'} is not known; write one of the keys in {example}, spelt as there"
    wanted = why.removeprefix("Expected ")
    for type_, words in _WORDS.items():
        wanted = wanted.replace(type_, words)
    if section is not None:
        return f"{section or 'the file'} is wrong: its keys are words"
    return f"{key or 'the file'} is wrong: write {wanted}"
