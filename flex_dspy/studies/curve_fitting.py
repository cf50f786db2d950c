"""Fits accuracy as a function of the amount learned, chooses the form of the curve, and computes its uncertainty.

Three forms are fitted by weighted least squares (``scipy.optimize.curve_fit``). The weights come from each point's 95%
interval. The form with the smallest Akaike information criterion is kept. Parameters are then drawn from the normal
distribution given by the fit, and the intervals and bands are percentiles over these draws. This is like the delta
method, but without a linear approximation of the curve. If the points scatter more than their intervals explain, the
intervals are widened by Birge's ratio.

Source: Hestness et al., arXiv 1712.00409 (power law); Burnham and Anderson, Model Selection, 2002, chapter 2 (choice
of a form); Krinsky and Robb, Rev. Econ. Stat. 1986, 68, 715 (draws); Birge, Phys. Rev. 1932, 40, 207.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]
Numbers = float | Floats

DRAWS = 2_000
TOLD_APART = 2.0  # smallest difference of the criterion that decides between forms (Burnham and Anderson, chapter 2.6)
_STEEPEST = 20.0  # largest exponent: beyond it a curve is a step, and its powers overflow


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the curve.

    Attributes:
        name: Its name.
        equation: Accuracy as a function of ``n``.
        curve: Accuracy as a function of ``t = ln(n / n0)`` and the fitted parameters. ``n0`` is the geometric mean of
            the measured sizes, which keeps the fit well conditioned.
        start: First guess of the fitted parameters, from ``t`` and the accuracies.
        parameters: Computes the reported parameters from ``n0`` and the fitted parameters.
        shares: Whether the form is only for scores from 0 to 1.
        holds: Whether fitted parameters give a valid curve of this form. Its second argument says whether scores are
            from 0 to 1.
    """

    name: str
    equation: str
    curve: Callable[..., Floats]
    start: Callable[[Floats, Floats], Sequence[float]]
    parameters: Callable[[float, Floats], dict[str, float]]
    shares: bool = False
    holds: Callable[[Floats, bool], bool] = lambda p, shares: True

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.curve.__code__.co_argcount - 1


def _line(t: Floats, level: Numbers, slope: Numbers) -> Floats:
    return level + slope * t


def _line_start(t: Floats, y: Floats) -> Sequence[float]:
    slope, level = np.polyfit(t, y, 1)
    return level, slope


def _line_parameters(n0: float, p: Floats) -> dict[str, float]:
    slope = p[1] * math.log(10)
    return {"a": p[0] - slope * math.log10(n0), "b": slope}


def _power(t: Floats, level: Numbers, slope: Numbers, exponent: Numbers) -> Floats:
    """Power law, given by its level and slope at ``t = 0``. At exponent 0 it becomes a line (Box and Cox, 1964)."""
    c = np.clip(exponent, -_STEEPEST, _STEEPEST)
    c = np.where(np.abs(c) < 1e-6, 1e-6, c)
    return np.asarray(level - slope * np.expm1(np.clip(-c * t, -50, 50)) / c)


def _power_start(t: Floats, y: Floats) -> Sequence[float]:
    return (*_line_start(t, y), 0.1)


def _power_parameters(n0: float, p: Floats) -> dict[str, float]:
    level, slope, c = p
    # Without a positive exponent the curve has no ceiling.
    a = level + slope / c if c > 0 else math.inf * slope if slope else level
    b = slope / c * n0**c if 0 < c < _STEEPEST else math.inf
    return {"a": a, "b": b, "c": c}


def _has_ceiling(p: Floats, shares: bool) -> bool:
    """Whether a power law approaches a ceiling that is a possible score."""
    level, slope, c = p
    return bool(c > 0 and (not shares or 0 <= level + slope / c <= 1))


def _sigmoid(t: Floats, level: Numbers, slope: Numbers) -> Floats:
    return np.asarray(expit(level + slope * t))


def _sigmoid_start(t: Floats, y: Floats) -> Sequence[float]:
    slope, level = np.polyfit(t, logit(np.clip(y, 0.01, 0.99)), 1)
    return level, slope


def _sigmoid_parameters(n0: float, p: Floats) -> dict[str, float]:
    level, slope = p
    return {"m": n0 * math.exp(min(max(-level / slope, -50), 50)) if slope else math.inf, "c": slope}


FORMS: tuple[Form, ...] = (
    Form("log-linear", "a + b log10(n)", _line, _line_start, _line_parameters),
    Form("power law", "a - b n^-c", _power, _power_start, _power_parameters, holds=_has_ceiling),
    Form("logistic", "1 / (1 + (m / n)^c)", _sigmoid, _sigmoid_start, _sigmoid_parameters, shares=True),
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A fitted number with its 95% interval. A bound is infinite if the points do not determine it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Text of the value with its interval. An infinite bound is called open."""
        value, low, high = map(_number_text, (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def _number_text(value: float) -> str:
    if not math.isfinite(value):
        return "open"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted form.

    Attributes:
        form: Name of the form.
        equation: Equation of the form.
        parameters: Parameters by their names in the equation.
        chi2: Weighted sum of squared residuals.
        freedom: Number of points minus number of parameters.
        criteria: Akaike's information criterion of each form that could be fitted.
        bounded: Whether scores are from 0 to 1.
        scale: n0, the geometric mean of the measured sizes.
        estimate: The parameters in which the form was fitted.
        draws: Random draws of these parameters, shape ``(draws, parameters)``.
    """

    form: str
    equation: str
    parameters: Mapping[str, Parameter]
    chi2: float
    freedom: int
    criteria: Mapping[str, float]
    bounded: bool
    scale: float
    estimate: Floats = field(repr=False, compare=False)
    draws: Floats = field(repr=False, compare=False)

    @property
    def rivals(self) -> list[str]:
        """Names of the other forms that fit almost as well."""
        best = self.criteria[self.form]
        return [name for name, aic in self.criteria.items() if name != self.form and aic < best + TOLD_APART]

    def text(self, unit: str) -> str:
        """Text of the parameters on one line, with their 95% intervals.

        Args:
            unit: Unit of ``n``.
        """
        numbers = ", ".join(f"{name} = {value}" for name, value in self.parameters.items())
        rivals = f"; {' and '.join(self.rivals)} fit about as well" if self.rivals else ""
        return (
            f"{self.form}, {self.equation} with n in {unit}: {numbers}; chi2 {self.chi2:.1f} on {self.freedom}{rivals}"
        )

    def at(self, n: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Accuracy on the curve, and the lower and upper end of its 95% band.

        Args:
            n: Amounts learned. Beyond the measured amounts, the band shows only the noise of the points. It does not
                include the chance that another form is right.
        """
        form = next(form for form in FORMS if form.name == self.form)
        t = np.log(np.asarray(n, dtype=float) / self.scale)
        each = self.draws.T.reshape(self.draws.shape[1], -1, *[1] * t.ndim)
        low, high = np.percentile(form.curve(t, *each), (2.5, 97.5), axis=0)
        ends = (0.0, 1.0) if self.bounded else (-np.inf, np.inf)
        return np.clip(form.curve(t, *self.estimate), *ends), np.clip(low, *ends), np.clip(high, *ends)


def fit(
    x: Sequence[float],
    accuracy: Sequence[float],
    error: Sequence[float],
    *,
    correlation: Floats | None = None,
    form: str | None = None,
    seed: int = 0,
) -> Fit:
    """Fit the curve.

    Args:
        x: Amount learned, positive: in examples, entries or epochs.
        accuracy: Mean score of each point.
        error: Standard error of each point.
        correlation: Correlation of the points' errors, for points that were measured on the same examples; None for
            independent points.
        form: Name of the form; None chooses the best form.
        seed: Seed of the random draws.

    Raises:
        ValueError: If the points do not allow a fit; the message says why.
    """
    xs, y = np.asarray(x, dtype=float), np.asarray(accuracy, dtype=float)
    shares = bool(((y >= 0) & (y <= 1)).all())
    different = len(np.unique(xs))
    forms = _forms(form, shares, different)
    scale = float(np.exp(np.log(xs).mean()))
    t, covariance = np.log(xs / scale), _covariance(np.asarray(error, dtype=float), correlation)
    solved = ((each, _solve(each, t, y, covariance)) for each in forms if different > each.size)
    found = {each.name: (each, *solution) for each, solution in solved if solution is not None}
    if not found:
        raise ValueError(f"{'no form fits' if form is None else f'the {form} does not fit'} these points")
    chi2 = {name: _chi2(y - each.curve(t, *p), covariance) for name, (each, p, _) in found.items()}
    criteria = {name: chi2[name] + 2 * each.size for name, (each, _, _) in found.items()}
    best, estimate, spread = found[min(criteria, key=lambda name: criteria[name])]
    freedom = len(y) - best.size
    widened = max(1.0, chi2[best.name] / freedom)
    draws = np.random.default_rng(seed).multivariate_normal(estimate, spread * widened, size=DRAWS)
    parameters = _parameter_intervals(best, scale, estimate, draws)
    return Fit(best.name, best.equation, parameters, chi2[best.name], freedom, criteria, shares, scale, estimate, draws)


def _forms(name: str | None, shares: bool, different: int) -> list[Form]:
    """Forms that can be fitted to this number of different sizes.

    Raises:
        ValueError: If there is no such form.
    """
    usable = [each for each in FORMS if shares or not each.shares]
    forms = [each for each in usable if name in (None, each.name)]
    if not forms:
        raise ValueError(
            f"no form {name!r} for these scores; there are {', '.join(repr(each.name) for each in usable)}"
        )
    least = min(each.size for each in forms) + 1
    if different < least:
        raise ValueError(f"a fit needs at least {least} different sizes above 0, and there are {different}")
    return forms


def _covariance(error: Floats, correlation: Floats | None) -> Floats:
    if not np.isfinite(error).all():
        raise ValueError("a point has no interval, as it was measured on a single example")
    safe = np.maximum(error, 1e-6)  # the error of equal graded scores is zero
    return np.asarray(np.outer(safe, safe) * (np.eye(len(safe)) if correlation is None else correlation))


def _solve(form: Form, t: Floats, y: Floats, covariance: Floats) -> tuple[Floats, Floats] | None:
    """Least-squares parameters and their covariance; None if the fit fails."""
    from scipy.optimize import OptimizeWarning, curve_fit  # imported here because the import is slow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # an undetermined covariance is infinite
        try:
            found, spread = curve_fit(
                form.curve, t, y, p0=form.start(t, y), sigma=covariance, absolute_sigma=True, method="trf", max_nfev=500
            )
        except RuntimeError:
            return None
    usable = np.isfinite(spread).all() and form.holds(found, bool(((y >= 0) & (y <= 1)).all()))
    return (found, spread) if usable else None


def _chi2(residuals: Floats, covariance: Floats) -> float:
    return float(residuals @ np.linalg.solve(covariance, residuals))


def _parameter_intervals(form: Form, scale: float, estimate: Floats, draws: Floats) -> dict[str, Parameter]:
    values = form.parameters(scale, estimate)
    samples = [form.parameters(scale, draw) for draw in draws]
    intervals = {}
    for name, value in values.items():
        # No interpolation, because some draws may be infinite.
        low, high = np.percentile([each[name] for each in samples], (2.5, 97.5), method="nearest")
        intervals[name] = Parameter(float(value), float(low), float(high))
    return intervals
