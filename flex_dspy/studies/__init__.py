"""Studies of a library: how accuracy scales, which other actors it helps, and which of its parts help."""

from flex_dspy.studies.ablation_study import Ablation, ablation
from flex_dspy.studies.conditions import Condition
from flex_dspy.studies.curve_fitting import Fit, Parameter
from flex_dspy.studies.inheritance_matrix import Inheritance, inheritance
from flex_dspy.studies.measured_scaling import measure_scaling
from flex_dspy.studies.scaling_law import Curve, Scaling, scaling
from flex_dspy.studies.snapshots import Snapshots, registry_libraries

__all__ = [
    "Ablation",
    "Condition",
    "Curve",
    "Fit",
    "Inheritance",
    "Parameter",
    "Scaling",
    "Snapshots",
    "ablation",
    "inheritance",
    "measure_scaling",
    "registry_libraries",
    "scaling",
]
