"""The installations of the pipeline's tests, for commands."""

from tests.pipeline.conftest import installation, make_installation

__all__ = ["installation", "make_installation"]
