"""The rule that decides when ``NAME@best`` moves to another version.

A version can be best if it was measured with few enough errors. It is compared with the present best version, on the
examples that both were measured on:

* ``best`` (the default): the alias moves if the new mean score on these examples is higher, and the paired test (exact
  McNemar, or sign flips for graded scores) does not show that it is worse. In a tie the earlier version stays.
* ``significant``: the mean score must be higher with p < 0.05 in that test.
* ``never``: no run moves the alias. Set it yourself, with MLflow's client or on its pages.

If two versions share no example, they cannot be compared: with ``best`` the new version begins a new contest and takes
the alias; with ``significant`` the alias stays. If the examples of a version are not known, as for versions of earlier
releases, the scores in the registry are compared, if both are of the same set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from flex_dspy.evaluation.paired_tests import mcnemar, sign_flips

Promote = Literal["best", "never", "significant"]
Scores = Mapping[str, float]

ALPHA = 0.05


def is_better(new: Scores, held: Scores, promote: Promote = "best") -> bool | None:
    """Whether a version is better than another on their common examples; None if they have none.

    Args:
        new: The mean score of each example of the version, by the example's id.
        held: The mean scores of the present best version, by example id.
        promote: The rule.
    """
    common = sorted(new.keys() & held.keys())
    if not common:
        return None
    first, second = (np.array([scores[each] for each in common]) for scores in (held, new))
    differences = second - first
    if differences.mean() <= 0:  # a higher mean is never significantly worse
        return False
    if promote != "significant":
        return True
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        return mcnemar(int((differences > 0).sum()), int((differences < 0).sum())) < ALPHA
    return sign_flips(differences) < ALPHA
