"""Which gaps share a page."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from gapless.domain.window import HOUR_MS, Window
from gapless.pipeline.paging.gap_pages import TOGETHER_MS, allot, common_cause, describe, page_key
from gapless.storage.mysql import Gap
from gapless.storage.mysql.page_book import Claim, StoredPage
from tests.pipeline.paging.conftest import BTC, ETH, gap, hour

NOW = hour(5).start_ms


def told(gaps: list[Gap], pages: list[StoredPage], now_ms: int = NOW) -> list[Claim]:
    return allot(gaps, pages, source="here", link="", now_ms=now_ms)


def sent(page: StoredPage, at_ms: int = NOW) -> StoredPage:
    return replace(page, state="sent", sent_ms=at_ms, detail=changed(page.detail, told={"pagerduty": 1}))


def test_causes_are_one_up_to_their_particulars() -> None:
    assert common_cause("the exchange could not be asked: BTC/USDT: no answer") == "the exchange could not be asked"
    assert common_cause("  the exchange\nhas it ") == "the exchange has it"
    assert common_cause("") == common_cause(": x") == "no cause on record"
    assert len(common_cause("x" * 60_000)) == 200


def test_a_young_page_takes_in_what_fails_after_it_and_an_old_one_does_not() -> None:
    [(page, _)] = told([gap(BTC)], [])
    later = gap(ETH)
    [(joined, _)] = told([later], [sent(page)], NOW + TOGETHER_MS - 1)
    assert (joined.key, joined.detail.revision, joined.state) == (page.key, 2, "sent")
    [(fresh, _)] = told([later], [sent(page)], NOW + TOGETHER_MS)
    assert fresh.key != page.key
    assert (fresh.detail.revision, fresh.state) == (1, "sending")


def test_a_page_that_nobody_took_yet_takes_in_whatever_fails() -> None:
    [(page, _)] = told([gap(BTC)], [])
    [(joined, _)] = told([gap(ETH)], [page], NOW + 100 * TOGETHER_MS)
    assert joined.key == page.key


def test_a_page_that_is_just_ending_takes_in_nothing() -> None:
    [(page, _)] = told([gap(BTC)], [])
    [(fresh, _)] = told([gap(BTC)], [replace(sent(page), state="resolving")])
    assert fresh.key == f"{page.key}-2"


def test_pages_of_other_datasets_causes_and_kinds_are_let_be() -> None:
    [(page, _)] = told([gap(BTC)], [])
    for other in (
        replace(page, kind="quality"),
        replace(page, detail=changed(page.detail, component="funding_rate")),
        replace(page, detail=changed(page.detail, group="okx")),
        replace(page, detail=changed(page.detail, facts={"cause": "another"})),
    ):
        [(fresh, _)] = told([gap(ETH)], [other])
        assert fresh.key != other.key


def test_the_key_follows_from_the_first_gap_and_its_cause_alone() -> None:
    keys = {
        page_key(first, cause, origin=origin)
        for first in (gap(BTC), gap(ETH), gap(BTC, hour(1)), replace(gap(BTC), interval="5m"))
        for cause in ("a", "b")
        for origin in ("here", "there")
    }
    assert len(keys) == 16
    assert page_key(replace(gap(BTC), attempts=9, bars=7), "a", origin="here") in keys
    assert max(len(key) for key in keys) <= 64


def test_a_page_says_what_is_left_of_it() -> None:
    [(page, _)] = told([gap(BTC), gap(ETH, hour(2))], [])
    assert "120 missing rows of 2 series" in page.summary
    assert page.detail.facts["to"] == "2026-11-15T14:00:00Z"
    left = describe(page, [gap(ETH, Window(hour(2).start_ms, hour(2).start_ms + 60_000)), gap(ETH, hour(3))], "x")
    assert "61 missing rows of ETH/USDT:USDT 1m" in left.summary
    one = describe(page, [replace(gap(ETH), bars=1)], "x")
    assert "1 missing row of ETH/USDT:USDT 1m" in one.summary
    assert (one.key, one.state, one.detail.revision) == (page.key, page.state, page.detail.revision)


def test_funding_has_rows_and_no_interval() -> None:
    [(page, _)] = told([gap(BTC, dataset="funding_rate", interval="")], [])
    assert "binance funding_rate: 1 missing row of BTC/USDT:USDT could not" in page.summary
    assert page.detail.facts["try again"] == (
        "gapless gaps --start 2026-11-15T11:00:00Z --end 2026-11-15T12:00:00Z --dataset funding "
        "--symbols BTC/USDT:USDT --fill"
    )


def test_the_command_that_a_page_proposes_is_one() -> None:
    from gapless.cli import _parser

    many = [gap(f"C{number}/USDT:USDT") for number in range(30)]
    for gaps in ([gap(BTC)], many, [gap(BTC, dataset="futures_metrics", interval="")]):
        [(page, _)] = told(gaps, [])
        words = page.detail.facts["try again"].split()[1:]
        assert _parser(words).parse_args(words).fill


CAUSES = ("the exchange has it", "the exchange could not be asked: a", "the exchange could not be asked: b", "")
FAILED = st.tuples(st.integers(0, 30), st.sampled_from([BTC, ETH, "币安人生/USDT:USDT"]), st.sampled_from(CAUSES))


@given(st.lists(st.tuples(st.lists(FAILED, min_size=1, max_size=6), st.integers(0, 3 * HOUR_MS)), max_size=6))
def test_every_gap_is_in_one_page_and_every_call_is_for_new_gaps(
    rounds: list[tuple[list[tuple[int, str, str]], int]],
) -> None:
    """Whatever fails, whenever: each gap is claimed once, its page is of its cause, and no key is used twice."""
    pages: dict[str, StoredPage] = {}
    owner: dict[int, str] = {}
    now, number = NOW, 0
    for failures, wait in rounds:
        now += wait
        gaps = []
        for at, symbol, cause in sorted(failures):
            number += 1
            gaps.append(replace(gap(symbol, hour(at), cause=cause), id=number))
        claims = told(gaps, list(pages.values()), now)
        claimed = [gap_id for _, ids in claims for gap_id in ids]
        assert sorted(claimed) == [each.id for each in gaps]
        assert len({page.key for page, _ in claims}) == len(claims)
        causes = {each.id: common_cause(each.cause) for each in gaps}
        for page, ids in claims:
            assert {causes[gap_id] for gap_id in ids} == {page.detail.facts["cause"]}
            known = pages.get(page.key)
            if known is not None:
                assert page.detail.revision == known.detail.revision + 1
                assert now - known.created_ms < TOGETHER_MS
                assert page.created_ms == known.created_ms
            owner |= dict.fromkeys(ids, page.key)
            pages[page.key] = sent(page, now) if known is None else page
    assert set(owner) == set(range(1, number + 1))
