"""Samples as the text that Prometheus scrapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from gapless.errors import ValidationError
from gapless.monitoring.catalogue import CATALOGUE, Kind, Metric

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class Distribution:
    """The value of a histogram.

    Attributes:
        bounds: upper bounds of its buckets, ascending, the infinite one left out.
        counts: how many were at most each bound; then how many there were.
        total: the sum of all that was observed.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric.

    Attributes:
        name: of the catalogue. labels: values, in the order of the metric's labels.
        value: of a histogram, and of nothing else, a `Distribution`.
    """

    name: str
    value: float | Distribution
    labels: tuple[str, ...] = ()


def exposition(samples: Iterable[Sample], catalogue: Mapping[str, Metric] = CATALOGUE) -> bytes:
    """The samples in the catalogue's order, each metric with its help and type; metrics without samples are absent.

    Raises:
        ValidationError: a sample of no metric, with other labels than its metric has, told twice, or a histogram that
            is none.
    """
    by_name: dict[str, list[Sample]] = {}
    told: set[tuple[str, tuple[str, ...]]] = set()
    for sample in samples:
        metric = catalogue.get(sample.name)
        if metric is None or len(sample.labels) != len(metric.labels):
            raise ValidationError(
                f"{sample.name}{sample.labels}: no such metric, or not its labels: see docs/metrics.md"
            )
        if isinstance(sample.value, Distribution) != (metric.kind is Kind.HISTOGRAM):
            raise ValidationError(f"{sample.name}: a {metric.kind} has no value like {sample.value}")
        if (sample.name, sample.labels) in told:
            raise ValidationError(f"{sample.name}{sample.labels} is told twice in one scrape")
        told.add((sample.name, sample.labels))
        by_name.setdefault(sample.name, []).append(sample)
    families = [_family(metric, by_name[name]) for name, metric in catalogue.items() if name in by_name]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(families))
    return generate_latest(registry)


class _Told(Collector):
    """Families that are there already."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    # The client appends `_total` to a counter's name in the head, and takes samples by the name they are given.
    name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
    family = Family(name, metric.help, str(metric.kind))
    for sample in sorted(samples, key=lambda each: each.labels):
        labels = dict(zip(metric.labels, sample.labels, strict=True))
        value = sample.value
        if isinstance(value, Distribution):
            for bound, count in zip((*map(str, map(float, value.bounds)), "+Inf"), value.counts, strict=True):
                family.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
            family.add_sample(f"{name}_count", labels, value.counts[-1])
            family.add_sample(f"{name}_sum", labels, value.total)
        else:
            family.add_sample(metric.name, labels, value)
    return family
