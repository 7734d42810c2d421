"""Scores of label images against truth."""

from .metrics import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
