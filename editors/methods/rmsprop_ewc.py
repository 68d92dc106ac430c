"""RMSProp with elastic weight consolidation."""

from dataclasses import dataclass

from editors.ewc import ElasticWeightConsolidation
from editors.methods.rmsprop import RMSProp
from editors.registry import register


@register("rmsprop_ewc")
@dataclass(frozen=True, kw_only=True)
class RMSPropEWC(ElasticWeightConsolidation, RMSProp):
    """RMSProp with g + λ F (θ − θ⁰) in place of g, with F the diagonal Fisher information.

    Source: Sinitsin et al., ICLR 2020, section 4.1 (Table 3); Kirkpatrick et al. 2016
    """
