"""Embeddings that are the readout too: one tensor, of which only the use as a readout is multiplied."""

from __future__ import annotations

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.multipliers.hooks import Site
from mutransfer.parameterization.roles.compare_widths import Survey
from mutransfer.parameterization.tracing.examples import Observed
from mutransfer.parameterization.tracing.growing_factors import Growth
from mutransfer.theory.rules import Parameterization, Role

KIND = "tied readout"


def tied_sites(found: Survey, table: Parameterization, seen: Observed | None, growth: Growth) -> dict[str, Site]:
    """Where an embedding is also the readout: the tensor keeps its row, the logits get the rest."""
    if not table.corrects_init:
        return {}
    # What is looked up has no input to multiply: the tensor is under the embedding's row with all absorbed.
    readout, embedding = table.rows[Role.OUTPUT], table.rows[Role.INPUT].absorbed()
    sites = {}
    for name, use in (seen.base.uses if seen else {}).items():
        grows = found.parameters[name].role is not Role.SCALAR
        if use.lookup and use.matrix and grows and use.contracted and name not in found.tied.values():
            raise ClassificationError(
                f"{name} is looked up and multiplied as a matrix too, without an nn.Linear that shares it: nothing can "
                "be multiplied where it reads out. Tie it to the weight of an nn.Linear and call that: "
                "head.weight = embedding.weight"
            )
    for path, name in found.tied.items():
        parameter = found.parameters[name]
        m = parameter.m_out  # what is fan_out for the embedding is fan_in for the readout
        factor = readout.forward(m, 1.0) * readout.init(m, 1.0) / embedding.init(1.0, m)
        factor *= growth.rows.get(name, 1.0)  # by which the tensor is smaller
        factor /= growth.logits.get(name, 1.0)
        sites[path] = Site(kind=KIND, factor=factor, mechanism="input")
    return sites
