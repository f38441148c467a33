"""Frozen records that travel between rooms, and their JSON form.

No judgement and no drawing here (only `comparing` decides what is worse than before): `signals`
and `plans` make these, `report` renders them, and a saved JSON file renders again later. The methods
that show a record (`Report.to_html`, printing) hand it to the `report` room when called.
"""

from goodinit.records.baseline import Baseline, KnownFinding, SinceBaseline
from goodinit.records.comparisons import (
    Comparison,
    Curve,
    Difference,
    Interval,
    MemberRun,
    PlanSummary,
)
from goodinit.records.coordinates import CoordinateCheck, CoordinateLayer
from goodinit.records.experiments import (
    ExperimentResult,
    Fact,
    Grid,
    Line,
    Picture,
    Sheet,
    Violin,
)
from goodinit.records.form import from_jsonable, to_jsonable
from goodinit.records.health import Finding, Report
from goodinit.records.plans import Announced, PlanRecord, RowCheck, RowRecord, Verification
from goodinit.records.signals import (
    AttentionSignal,
    Histogram,
    JacobianSpectrum,
    LayerSignal,
    Moments,
    ParameterSignal,
    Prediction,
)
from goodinit.records.training import LayerStep, MonitorEvent, MonitorLog, MonitorStep, ParameterStep

__all__ = [
    "Announced",
    "AttentionSignal",
    "Baseline",
    "Comparison",
    "CoordinateCheck",
    "CoordinateLayer",
    "Curve",
    "Difference",
    "ExperimentResult",
    "Fact",
    "Finding",
    "Grid",
    "Histogram",
    "Interval",
    "JacobianSpectrum",
    "KnownFinding",
    "LayerSignal",
    "LayerStep",
    "Line",
    "MemberRun",
    "Moments",
    "MonitorEvent",
    "MonitorLog",
    "MonitorStep",
    "ParameterSignal",
    "ParameterStep",
    "Picture",
    "PlanRecord",
    "PlanSummary",
    "Prediction",
    "Report",
    "RowCheck",
    "RowRecord",
    "Sheet",
    "SinceBaseline",
    "Verification",
    "Violin",
    "from_jsonable",
    "to_jsonable",
]
