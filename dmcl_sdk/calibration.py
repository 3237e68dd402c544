"""From raw scores to probabilities, and from probabilities to labels that may be withheld.

Applies what was fitted elsewhere and is stored with the model; nothing is fitted here.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from dmcl_sdk.verdict import Label

FloatArray = NDArray[np.float64]
Covariance = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Platt:
    """Platt scaling: P(manipulated) = sigmoid(slope * logit + intercept).

    After J. Platt, "Probabilistic outputs for support vector machines", 1999.

    Attributes:
        slope: above 0; a model whose higher scores mean "less likely" is not mended by calibration.
        intercept: in log-odds.
        covariance: of (slope, intercept), as fitted; what the interval is made of.
        method: how the curve was made, as a verdict names it.
        version: of the fit, as a verdict names it.
    """

    slope: float
    intercept: float
    covariance: Covariance
    method: Literal["platt"] = "platt"
    version: str = "1"

    def __post_init__(self) -> None:
        (slope_variance, shared), (mirrored, intercept_variance) = self.covariance
        if not (0 < self.slope < math.inf and math.isfinite(self.intercept)):
            raise ValueError(f"a calibration needs a slope > 0 and a finite intercept, got {self}")
        if not all(math.isfinite(entry) for row in self.covariance for entry in row):
            raise ValueError(f"a covariance needs to be finite, got {self}")
        # A covariance comes from a matrix inverted in floats: its two corners, and the bound of a perfectly
        # correlated pair, may be off by rounding.
        symmetric = math.isclose(shared, mirrored, rel_tol=1e-9)
        bound = slope_variance * intercept_variance * (1 + 1e-9)
        if not symmetric or min(slope_variance, intercept_variance) < 0 or shared**2 > bound:
            raise ValueError(f"a covariance is symmetric and positive semi-definite, got {self}")

    @overload
    def probability(self, logit: float) -> float: ...
    @overload
    def probability(self, logit: FloatArray) -> FloatArray: ...
    def probability(self, logit: float | FloatArray) -> float | FloatArray:
        """P(manipulated) of one logit, or of each in an array; NaN (not judged) stays NaN."""
        probability = _sigmoid(self.slope * np.asarray(logit, np.float64) + self.intercept)
        return probability if isinstance(logit, np.ndarray) else float(probability)

    def interval(self, logit: float, level: float = 0.9) -> tuple[float, float]:
        """Interval of the probability that comes from the uncertainty of the fit alone.

        The delta method on the log-odds, which are linear in (slope, intercept), so the variance is exact;
        then through the sigmoid, so that the interval stays inside 0..1 and is lopsided near the ends.

        Args:
            logit: the raw score, finite.
            level: share of fits whose curve passes through the interval, between 0 and 1.

        Returns:
            Lower and upper end; the probability lies between them.
        """
        if not (math.isfinite(logit) and 0 < level < 1):
            raise ValueError(f"an interval needs a finite logit and 0 < level < 1, got {logit}, {level}")
        (slope_variance, shared), (_, intercept_variance) = self.covariance
        variance = slope_variance * logit**2 + 2 * shared * logit + intercept_variance
        reach = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(max(0.0, variance))
        log_odds = self.slope * logit + self.intercept
        return float(_sigmoid(np.float64(log_odds - reach))), float(_sigmoid(np.float64(log_odds + reach)))

    def digest(self) -> str:
        """SHA-256 of its canonical JSON (sorted keys, no spaces, shortest floats), in hex."""
        fields = asdict(self) | {
            "slope": float(self.slope),
            "intercept": float(self.intercept),
            "covariance": [[float(entry) for entry in row] for row in self.covariance],
        }
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AbstentionRule:
    """Which probabilities earn a label; between the two the answer is "uncertain".

    Attributes:
        manipulated_above: from this probability on, "manipulated".
        not_manipulated_below: under this probability, "not_manipulated".
    """

    manipulated_above: float
    not_manipulated_below: float

    def __post_init__(self) -> None:
        if not 0 <= self.not_manipulated_below <= self.manipulated_above <= 1:
            raise ValueError(
                f"an abstention rule needs 0 <= not_manipulated_below <= manipulated_above <= 1, got {self}"
            )

    def label(self, probability: float) -> Label:
        """What a probability in 0..1 is called; the two bounds equal, nothing is uncertain."""
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability lies in 0..1, got {probability}")
        if probability >= self.manipulated_above:
            return "manipulated"
        return "not_manipulated" if probability < self.not_manipulated_below else "uncertain"


def _sigmoid(log_odds: FloatArray | np.float64) -> FloatArray:
    """Log-odds of any shape -> 0..1, rising; keeps NaN and its small end."""
    with np.errstate(over="ignore"):  # exp(710) is inf, and 1 / inf the right answer
        probability: FloatArray = 1 / (1 + np.exp(-log_odds))
    return probability
