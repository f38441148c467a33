"""Measure how signals and gradients travel through a model, and judge what was measured."""

from __future__ import annotations

from goodinit.signals.check import check
from goodinit.signals.judging.diagnose import diagnose
from goodinit.signals.monitoring.monitor import Monitor, Writer
from goodinit.signals.probing.probe import Probe, probe

__all__ = ["Monitor", "Probe", "Writer", "check", "diagnose", "probe"]
