"""Months leave MySQL for the lake, proved first."""

from gapless.pipeline.export.request import DueMonth, ExportReport, Watch
from gapless.pipeline.export.run import plan_export, run_export

__all__ = ["DueMonth", "ExportReport", "Watch", "plan_export", "run_export"]
