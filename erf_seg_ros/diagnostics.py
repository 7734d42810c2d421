"""Verdicts as `diagnostic_msgs`, named the way `diagnostic_updater` names them."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from .conditions import Verdict


def diagnostic_name(namespace: str, node: str, task: str) -> str:
    """Status name, "node: task", with the namespace if there is one (aggregators match on it)."""
    return f"{namespace.strip('/')}/{node}: {task}".lstrip("/")


def to_status(verdict: Verdict, name: str, hardware_id: str) -> DiagnosticStatus:
    """One status of a `DiagnosticArray`."""
    return DiagnosticStatus(
        level=bytes([verdict.level]),
        name=name,
        message=verdict.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in verdict.values.items()],
    )
