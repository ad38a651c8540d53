"""What the daily rules allow: `include/quality.yaml`, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from gapless.errors import ConfigError

Share = Annotated[float, msgspec.Meta(gt=0, le=10)]
Factor = Annotated[float, msgspec.Meta(ge=1, le=1000)]
Ticks = Annotated[float, msgspec.Meta(ge=0, le=1000)]
Bars = Annotated[int, msgspec.Meta(ge=1, le=500)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; a key that is left out has its default, one that is unknown is an error."""


class Continuity(_Section, frozen=True):
    """How far a bar may open from where the one before closed: the largest of the three.

    Attributes:
        relative: of the price. ticks: smallest price steps. ranges: usual ranges (high to low) of the bars around.
    """

    relative: Share = 0.005
    ticks: Ticks = 5
    ranges: Factor = 4


class Jumps(_Section, frozen=True):
    """How far a bar may reach from the closes before it: the largest of the three.

    Attributes:
        scales: usual reaches of the bars around. least: of the price. ticks: smallest price steps.
        near: bars right before, and right after, whose medians count, so that a market that goes on moving may.
        neighbourhood: bars before whose median counts.
        fewest: a bar with fewer traded ones before it is not judged.
        grace_minutes: nor is one that opens so soon after a listing.
        most: how many a day are put before a person; the rest is counted.
    """

    scales: Factor = 15
    least: Share = 0.02
    ticks: Ticks = 5
    near: Annotated[int, msgspec.Meta(ge=3, le=500)] = 10
    neighbourhood: Bars = 120
    fewest: Bars = 20
    grace_minutes: Annotated[int, msgspec.Meta(ge=0, le=10_080)] = 60
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500


class Agreement(_Section, frozen=True):
    """How a bar may differ from the minutes it is made of: not at all.

    Attributes:
        critical: relative difference from which on it is critical; below it is a warning.
    """

    critical: Share = 0.01


class Divergence(_Section, frozen=True):
    """How far spot and perpetual may be apart, and for how long.

    Attributes:
        relative: of the price. bars: that many traded ones in a row.
    """

    relative: Share = 0.03
    bars: Bars = 15


class Activity(_Section, frozen=True):
    """How much a day's volume and trades may differ from those of the days before.

    Attributes:
        days: days before. fewest_days: with fewer known ones nothing is judged.
        sigmas: standard deviations of the logarithm. sigma_least: what the deviation is at least.
    """

    days: Annotated[int, msgspec.Meta(ge=2, le=28)] = 7
    fewest_days: Annotated[int, msgspec.Meta(ge=2, le=28)] = 4
    sigmas: Annotated[float, msgspec.Meta(gt=0, le=100)] = 3
    sigma_least: Annotated[float, msgspec.Meta(gt=0, le=5)] = 0.5


class Thresholds(_Section, frozen=True):
    """Everything that the daily rules allow."""

    continuity: Continuity = Continuity()
    jumps: Jumps = Jumps()
    agreement: Agreement = Agreement()
    divergence: Divergence = Divergence()
    activity: Activity = Activity()


def read_thresholds(path: Path) -> Thresholds:
    """The thresholds in a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, has an unknown key or a wrong value; the message says where.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; GAPLESS_QUALITY_FILE names the thresholds of the rules") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        found = msgspec.convert({} if document is None else document, Thresholds)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {str(error).replace('`$.', '`').replace(' - at `$`', '')}") from None
    if found.activity.fewest_days > found.activity.days:
        raise ConfigError(f"{path}: activity.fewest_days is more than activity.days, so that nothing would be judged")
    if found.jumps.fewest > found.jumps.neighbourhood:
        raise ConfigError(f"{path}: jumps.fewest is more than jumps.neighbourhood, so that nothing would be judged")
    return found
