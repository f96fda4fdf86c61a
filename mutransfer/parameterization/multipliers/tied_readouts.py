"""Embeddings that are the readout too: one tensor, of which only the use as a readout is multiplied."""

from __future__ import annotations

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.parameterization.sites import Mechanism, On, Site, SiteKind
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.parameterization.tracing.growing_factors import Growth
from mutransfer.theory.rules import Parameterization, Role


def tied_sites(
    surveyed: ModelSurvey, table: Parameterization, traces: Traces | None, growth: Growth
) -> dict[str, Site]:
    """Sites of embeddings that are also the readout: the tensor keeps its row, the logits get the rest."""
    if not table.corrects_init:
        return {}
    # What is looked up has no input to multiply: the tensor is under the embedding's row with all absorbed.
    readout, embedding = table.rows[Role.OUTPUT], table.rows[Role.INPUT].absorbed()
    sites = {}
    for name, use in (traces.base.uses if traces else {}).items():
        grows = surveyed.parameters[name].role is not Role.SCALAR
        if use.lookup and use.matrix and grows and use.contracted and name not in surveyed.tied.values():
            raise ClassificationError(
                f"{name} is looked up and multiplied as a matrix too, without an nn.Linear that shares it: nothing can "
                "be multiplied where it reads out. Tie it to the weight of an nn.Linear and call that: "
                "head.weight = embedding.weight"
            )
    for path, name in surveyed.tied.items():
        parameter = surveyed.parameters[name]
        m = parameter.m_out  # what is fan_out for the embedding is fan_in for the readout
        factor = readout.forward(m, 1.0) * readout.init(m, 1.0) / embedding.init(1.0, m)
        factor *= growth.rows.get(name, 1.0)  # by which the tensor is smaller
        factor /= growth.logits.get(name, 1.0)
        sites[path] = Site(kind=SiteKind.TIED_READOUT, factor=factor, mechanism=Mechanism(On.INPUT))
    return sites
