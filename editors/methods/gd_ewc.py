"""Gradient descent with elastic weight consolidation."""

from dataclasses import dataclass

from editors.ewc import ElasticWeightConsolidation
from editors.methods.gd import GradientDescent
from editors.registry import register


@register("gd_ewc")
@dataclass(frozen=True, kw_only=True)
class GradientDescentEWC(ElasticWeightConsolidation, GradientDescent):
    """θ ← θ − α (g + λ F (θ − θ⁰)), with F the diagonal Fisher information.

    Source: Sinitsin et al., ICLR 2020, section 4.1 (Table 3); Kirkpatrick et al. 2016
    """
