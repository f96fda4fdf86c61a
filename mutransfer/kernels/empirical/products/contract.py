"""Inner products of gradients that are known as sums of outer products, without forming more than is cheapest.

With inputs A (N, T, D) and backward signals B (N, T, O, C) of a matrix, sum over t of b_t a_t^T is its gradient, and
the inner product of two gradients is the sum over t, s of (a_t . a_s)(b_t . b_s). Which of the two forms costs less
depends on the number of positions T. Layerwise kernels in this form: Novak, Sohl-Dickstein & Schoenholz 2022
("structured derivatives"), and George's NNGeometry.
"""

from __future__ import annotations

from itertools import product

from torch import Tensor

from mutransfer.kernels.empirical.gradients import Gradients, OuterFactors
from mutransfer.kernels.empirical.products.costs import ProductForm
from mutransfer.kernels.empirical.products.gram import gram
from mutransfer.kernels.empirical.products.rows import all_rows, by_rows, inner


def contract(
    left: Gradients,
    right: Gradients,
    *,
    full: bool,
    form: ProductForm | None,
    limit_bytes: int,
    data_products: dict[int, Tensor],
) -> Tensor:
    """The kernel of one parameter between two blocks: (N, M) summed over outputs, or (N, M, O, O) if ``full``.

    ``data_products`` keeps products of data that are small, for other outputs of the same blocks.
    """
    if left.rows is None and right.rows is None and left.factors and right.factors:
        if form == "gram":
            kernels = [
                kernel
                for place, (a, b) in enumerate(product(left.factors, right.factors))
                if (kernel := gram(a, b, full, limit_bytes, data_products, place)) is not None
            ]
            if not kernels:
                return _nothing(left.factors[0], right.factors[0], full)
            return sum(kernels[1:], start=kernels[0])
        return by_rows(left.factors, right.factors, full, limit_bytes)
    return inner(all_rows(left), all_rows(right), full)


def _nothing(a: OuterFactors, b: OuterFactors, full: bool) -> Tensor:
    (n, _, outputs, _), (m, _, others, _) = a.signal.shape, b.signal.shape
    return a.signal.new_zeros((n, m, outputs, others) if full else (n, m))
