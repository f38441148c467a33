"""Frozen records that travel between rooms, and their JSON form.

No thresholds and no drawing here: `signals` and `plans` make these, `report`
renders them, and a saved JSON file renders again later. The methods that show a
record (`Report.to_html`, printing) hand it to the `report` room when called.
"""

from goodinit.records.form import from_jsonable, to_jsonable
from goodinit.records.health import Finding, Report
from goodinit.records.plans import PlanRecord, RowCheck, RowRecord, Verification
from goodinit.records.signals import (
    AttentionSignal,
    Histogram,
    JacobianSpectrum,
    LayerSignal,
    Moments,
    ParameterSignal,
    Prediction,
)

__all__ = [
    "AttentionSignal",
    "Finding",
    "Histogram",
    "JacobianSpectrum",
    "LayerSignal",
    "Moments",
    "ParameterSignal",
    "PlanRecord",
    "Prediction",
    "Report",
    "RowCheck",
    "RowRecord",
    "Verification",
    "from_jsonable",
    "to_jsonable",
]
