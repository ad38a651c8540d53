"""Stored bars, drawn at random, against the exchange: `run_audit(rt, AuditRequest(sample=..., seed=...))`."""

from gapless.pipeline.audit.report import AuditReport, AuditRequest, Mismatch
from gapless.pipeline.audit.run import run_audit

__all__ = ["AuditReport", "AuditRequest", "Mismatch", "run_audit"]
