"""Pages that load nothing from elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.quality.expectations.offline import loads_from_elsewhere, localise

ASSETS = {"jquery-3.7.1.min.js", "bootstrap.min.css", "icons.css"}


def test_scripts_and_styles_come_from_beside_the_page() -> None:
    page = (
        '<link rel="stylesheet" href="https://cdn.example/4.3.1/css/bootstrap.min.css"/>'
        '<script src="https://cdn.example/jquery-3.7.1.min.js" integrity="sha384-x" crossorigin="anonymous"></script>'
        '<link rel="stylesheet" href="https://cdn.example/font/all.min.css">'
    )
    assert localise(page, "../assets/", ASSETS) == (
        '<link rel="stylesheet" href="../assets/bootstrap.min.css">'
        '<script src="../assets/jquery-3.7.1.min.js"></script>'
        '<link rel="stylesheet" href="../assets/icons.css">'
    )


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/npm/chart@5"></script>',
        "<script\n  src='//cdn.example/chart.js'>\n</script>",
        '<link rel="stylesheet" href="https://cdn.example/dark.css" />',
        '<img\n class="x"\n src="https://bucket.example/logo.png?d=1"\n alt="y"\n/>',
        "<style>.a { background: url('https://bucket.example/logo.png') }</style>",
        "<style>@import 'https://fonts.example/a.css';</style>",
        '<footer><p>News <a href="https://news.example/?a=1&b=2">Subscribe</a></p></footer>',
    ],
)
def test_what_has_no_namesake_here_is_left_out(tag: str) -> None:
    page = localise(f"<p>before</p>{tag}<p>after</p>", "a/", ASSETS)
    assert "example" not in page
    assert page.startswith("<p>before</p>")
    assert page.endswith("<p>after</p>")


def test_words_and_links_of_the_site_itself_stay() -> None:
    page = '<a href="../index.html">Home</a><p>see https://somewhere.example</p><script>let a = 1</script>'
    assert localise(page, "a/", ASSETS) == page
    assert loads_from_elsewhere(page) == []


@given(
    st.lists(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(['<script src="', "<script async src='", '<link rel="x" href="', '<img src="', "url("]),
            st.sampled_from(["https://a.example/x.js", "//b.example/bootstrap.min.css", "http://c.example", "./own"]),
            st.sampled_from(['"></script>', "'></script>", '">', '"/>', ")"]),
        ),
        max_size=6,
    ),
)
def test_what_would_still_be_loaded_is_always_reported(tags: list[str]) -> None:
    page = localise(" ".join(tags), "a/", ASSETS)
    for way in ('src="http', "src='http", 'href="http', "url(http", 'src="//', "src='//", 'href="//', "url(//"):
        if way in page.replace("<a ", ""):
            assert loads_from_elsewhere(page)
