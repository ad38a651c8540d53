"""Paging: somebody is told once of what a person must act on, and told when it is over."""

from gapless.pipeline.paging.receivers import ReceiverTest, try_receivers
from gapless.pipeline.paging.tell import PagesReport, tell_of_gaps, tell_of_quality
from gapless.pipeline.paging.view import PageRow, PagesView, close_page, view_pages

__all__ = [
    "PageRow",
    "PagesReport",
    "PagesView",
    "ReceiverTest",
    "close_page",
    "tell_of_gaps",
    "tell_of_quality",
    "try_receivers",
    "view_pages",
]
