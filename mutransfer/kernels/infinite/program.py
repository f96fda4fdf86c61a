"""A network as a sequence of recursion steps: run once on each example alone, then on pairs of examples.

What each example is alone before every step (its ``Marginal``) is recorded by the first run and read by the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mutransfer.kernels.infinite.pairs import Marginal, Pairs
from mutransfer.kernels.infinite.steps import Dense, Diagonal, Positions, RecursionStep


@dataclass(frozen=True, kw_only=True)
class SumRecord:
    """The records of the two summands of a residual sum, and their means behind it."""

    skip: list[StepRecord]
    branch: list[StepRecord]
    skip_mean: Tensor | None
    branch_mean: Tensor | None

    def __getitem__(self, rows: slice) -> SumRecord:
        return SumRecord(
            skip=[r[rows] for r in self.skip],
            branch=[r[rows] for r in self.branch],
            skip_mean=None if self.skip_mean is None else self.skip_mean[rows],
            branch_mean=None if self.branch_mean is None else self.branch_mean[rows],
        )


StepRecord = Marginal | SumRecord


@dataclass(frozen=True, kw_only=True)
class Sum:
    """skip(h) + scale * branch(h), one of which has weights of its own: but for their means they do not correlate."""

    skip: Program
    branch: Program
    scale: float

    def add(self, skip: Pairs, branch: Pairs, left: SumRecord, right: SumRecord) -> Pairs:
        nngp = skip.nngp + self.scale**2 * branch.nngp
        if left.skip_mean is not None and left.branch_mean is not None:
            assert right.skip_mean is not None
            assert right.branch_mean is not None
            nngp = nngp + self.scale * (
                skip.left(left.skip_mean) * skip.right(right.branch_mean)
                + skip.left(left.branch_mean) * skip.right(right.skip_mean)
            )
        return replace(skip, nngp=nngp, ntk=skip.ntk + self.scale**2 * branch.ntk)

    def mean(self, record: SumRecord) -> Tensor | None:
        if record.branch_mean is None:
            return record.skip_mean
        branch = self.scale * record.branch_mean
        return branch if record.skip_mean is None else record.skip_mean + branch


@dataclass(frozen=True, kw_only=True)
class Program:
    """The steps of a network, first to last."""

    steps: tuple[RecursionStep | Sum, ...]

    def alone(
        self, pairs: Pairs, mean: Tensor | None, examples: int
    ) -> tuple[Program, Pairs, Tensor | None, list[StepRecord]]:
        """The kernels of positions of the same example, the mean behind the last step, and the records.

        First comes the program with what was prepared on the way, for as many pairs of ``examples`` as are to follow.
        """
        records: list[StepRecord] = []
        steps: list[RecursionStep | Sum] = []
        for step in self.steps:
            if isinstance(step, Sum):
                ready_skip, skip, skip_mean, skip_records = step.skip.alone(pairs, mean, examples)
                ready_branch, branch, branch_mean, branch_records = step.branch.alone(pairs, mean, examples)
                step = replace(step, skip=ready_skip, branch=ready_branch)
                record = SumRecord(
                    skip=skip_records, branch=branch_records, skip_mean=skip_mean, branch_mean=branch_mean
                )
                pairs, mean = step.add(skip, branch, record, record), step.mean(record)
            else:
                record = Marginal(variance=pairs.diagonal().nngp, mean=mean)
                step = step.ready(record, record, examples * pairs.nngp[0].numel())
                pairs = step(pairs, record, record)
                mean = step.mean(record)
            records.append(record)
            steps.append(step)
        return Program(steps=tuple(steps)), pairs, mean, records

    def across(self, pairs: Pairs, left: Sequence[StepRecord], right: Sequence[StepRecord]) -> Pairs:
        """The kernels of pairs of examples, given the records of both sides."""
        for step, a, b in zip(self.steps, left, right, strict=True):
            if isinstance(step, Sum):
                assert isinstance(a, SumRecord)
                assert isinstance(b, SumRecord)
                skip = step.skip.across(pairs, a.skip, b.skip)
                pairs = step.add(skip, step.branch.across(pairs, a.branch, b.branch), a, b)
            else:
                assert isinstance(a, Marginal)
                assert isinstance(b, Marginal)
                pairs = step(pairs, a, b)
        return pairs

    def ready(self, left: Sequence[StepRecord], right: Sequence[StepRecord], examples: int) -> Program:
        """The program with what can be prepared once for ``examples`` pairs of examples."""
        steps: list[RecursionStep | Sum] = []
        for step, a, b in zip(self.steps, left, right, strict=True):
            if isinstance(step, Sum):
                assert isinstance(a, SumRecord)
                assert isinstance(b, SumRecord)
                skip = step.skip.ready(a.skip, b.skip, examples)
                step = replace(step, skip=skip, branch=step.branch.ready(a.branch, b.branch, examples))
            else:
                assert isinstance(a, Marginal)
                assert isinstance(b, Marginal)
                step = step.ready(a, b, examples * a.variance.shape[-1])
            steps.append(step)
        return Program(steps=tuple(steps))


def resolve_pairs(steps: Sequence[RecursionStep | Sum], *, full: bool) -> tuple[Program, bool]:
    """The program that keeps pairs of different positions only as far as needed, and whether it wants them given.

    Told backwards: whether the output needs them (``full``) tells the input.
    """
    resolved: list[RecursionStep | Sum] = []
    for step in reversed(steps):
        if isinstance(step, Sum):
            skip, skip_full = resolve_pairs(step.skip.steps, full=full)
            branch, branch_full = resolve_pairs(step.branch.steps, full=full)
            full = skip_full or branch_full
            step = replace(step, skip=_reduced(skip, full, skip_full), branch=_reduced(branch, full, branch_full))
        elif isinstance(step, Positions):
            step = replace(step, full_output=full)
            full = full or bool((step.matrix != 0).sum(1).max() > 1)
        elif isinstance(step, Dense) and step.over_positions:
            full = False
        resolved.append(step)
    return Program(steps=tuple(reversed(resolved))), full


def _reduced(program: Program, given: bool, needed: bool) -> Program:
    return Program(steps=(Diagonal(), *program.steps)) if given and not needed else program


def join_records(chunks: Sequence[Sequence[StepRecord]]) -> list[StepRecord]:
    """The records of several runs on different examples, as one."""
    return [_join(records) for records in zip(*chunks, strict=True)]


def _join(records: Sequence[StepRecord]) -> StepRecord:
    first = records[0]
    if isinstance(first, Marginal):
        return Marginal(
            variance=torch.cat([r.variance for r in records if isinstance(r, Marginal)]),
            mean=_cat([r.mean for r in records if isinstance(r, Marginal)]),
        )
    sums = [r for r in records if isinstance(r, SumRecord)]
    return SumRecord(
        skip=join_records([r.skip for r in sums]),
        branch=join_records([r.branch for r in sums]),
        skip_mean=_cat([r.skip_mean for r in sums]),
        branch_mean=_cat([r.branch_mean for r in sums]),
    )


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [p for p in parts if p is not None]
    return torch.cat(present) if present else None
