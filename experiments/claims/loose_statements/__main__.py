"""Loosely worded statements about wide networks, each beside the measurement that tells what is exact."""

from __future__ import annotations

import numpy as np

from experiments.claims.claim import main
from experiments.claims.findings import Finding, of_seeds, of_slope
from experiments.claims.loose_statements import frozen, moving
from mutransfer.measure.slopes import Slope, fit_slope

MEASURED = (
    frozen.standard_kernel,
    frozen.two_deviations,
    frozen.loss_conventions,
    frozen.movement_by_norm,
    frozen.parallel_inputs,
    frozen.unstable_modes,
    frozen.initialisation_scale,
    frozen.adam_step,
    moving.not_unique,
    moving.horizon,
    moving.useless_change,
)
INF = float("inf")


def measure(settings):
    found = {f.__name__: f(settings) for f in MEASURED}
    return {
        "widths": settings["widths"],
        "standard_widths": settings["standard_widths"],
        "deep_widths": settings["deep_widths"],
        **found,
    }


def findings(data):
    return [*frozen_findings(data), *moving_findings(data)]


def frozen_findings(data):
    widths, deep = data["widths"], data["deep_widths"]
    standard, two, norms = data["standard_kernel"], data["two_deviations"], data["movement_by_norm"]
    conventions, parallel = data["loss_conventions"], data["parallel_inputs"]
    scale, adam, unstable = data["initialisation_scale"], data["adam_step"], data["unstable_modes"]
    found = [
        of_slope(
            '1. "In the standard parameterization the kernel converges": trace of its kernel, power of width',
            "false: +1, so that a constant learning rate diverges",
            fit_slope(data["standard_widths"], standard["trace"]),
            within=(0.85, 1.15),
            remark=f"largest stable learning rate {fit_slope(data['standard_widths'], standard['critical'])}",
        ),
        of_slope(
            '2. "K_t - K_inf is O(n^-1/2)": its part at initialisation, power of width',
            "true as a bound, of two effects: -1/2",
            fit_slope(widths, two["initialisation"]),
            within=(-0.65, -0.35),
        ),
        of_slope(
            "2. its part from training, power of width",
            "-1 for smooth activations",
            fit_slope(widths, two["training"]),
            within=(-1.15, -0.85),
        ),
    ]
    for name, published, within in (
        ("half the sum of squares", "true for this loss: 1", (0.98, 1.02)),
        ("mean of squares", "false for others: 2 / N for the mean", (1.96, 2.04)),
    ):
        found.append(
            of_seeds(
                f'3. "f\' = -K (f - y)": its factor, {name}{" (times N)" if "mean" in name else ""}',
                published,
                [row[0] for row in conventions[name]],
                within=within,
            )
        )
    found.append(
        of_seeds(
            "3. the same, logistic loss: part of the change of f that is not along K (f - y)",
            "false for other losses: not 0",
            [row[1] for row in conventions["logistic loss, summed"]],
            within=(0.02, INF),
        )
    )
    for name, statement, published, within in (
        ("all", '"training moves parameters by O(n^-1/2)": all together', "false: 0, Theta(1)", (-0.15, 0.15)),
        ("neuron", "one neuron of the first layer", "true: -1/2", (-0.65, -0.35)),
        ("hidden", "a hidden matrix relative to itself", "faster: -1", (-1.15, -0.85)),
    ):
        found.append(
            of_slope(f"4. {statement}, power of width", published, fit_slope(deep, norms[name]), within=within)
        )
    return [
        *found,
        of_seeds(
            '5. "Wide networks fit any labels": squared error left where x and 2x have opposite labels',
            "false for parallel inputs: 1.8 is the least that a homogeneous function can have",
            parallel["left"],
            within=(1.75, 1.9),
            remark=f"least eigenvalue of the Gram matrix over the largest: {parallel['least_over_largest']:.1g}",
        ),
        of_seeds(
            '6. "Early stopping is a statement about eigenvalues": growth of the first mode per step at 1.5 times the '
            "critical learning rate",
            f"below it alone; above, it grows by lr lambda - 1 = {unstable['predicted']:g}",
            unstable["growth"],
            within=(1.9, 2.1),
        ),
        of_seeds(
            '8. "Lower initialisation scale is a smaller alpha": largest distance of initialisation / 2 from alpha = '
            "1/4 with the learning rate over alpha",
            "true with the learning rate rescaled (two layers, ReLU): 0",
            scale["rescaled"],
            within=(-1e-6, 1e-6),
        ),
        of_seeds(
            "8. the same with the learning rate over alpha^2, as lazy training is defined",
            "false as said: not 0",
            scale["not_rescaled"],
            within=(0.02, INF),
        ),
        of_seeds(
            '14. "The limit of training is kernel regression": change of f with the residual doubled, SGD',
            "true for SGD: 2",
            adam["sgd"],
            within=(1.98, 2.02),
        ),
        of_seeds("14. the same, Adam", "false: 1, the step does not know the size", adam["adam"], within=(0.95, 1.05)),
    ]


def moving_findings(data):
    unique, change, widths = data["not_unique"], data["useless_change"], data["widths"]
    still = unique["mup_still_hidden"]
    value, low, high = still["slope"]
    return [
        of_slope(
            '9. "One parameterization learns features": mup with hidden matrices n times slower, change of the last '
            "hidden layer, power of width",
            f"false: 0, r = {still['r']:g} ({still['kind']}), though hidden matrices stand still",
            Slope(value=value, low=low, high=high),
            within=(-0.15, 0.15),
            remark=f"mup itself {Slope(**dict(zip(('value', 'low', 'high'), unique['mup']['slope'], strict=True)))}",
        ),
        horizon_finding(data["horizon"]["short"], data["horizon"]["long"]),
        of_slope(
            '12. "Feature learning is a useful change of the kernel": change on random labels at mean-field scale, '
            "power of width",
            "false: features move (0) whether useful or not",
            fit_slope(widths, change["random labels"]["drift"]),
            within=(-0.15, 0.15),
            remark=f"at width {widths[-1]} the kernel changes by "
            + ", ".join(f"{np.mean(c['drift'][-1]):.2f} on {name}" for name, c in change.items()),
        ),
        of_seeds(
            f"12. alignment of the kernel with unseen labels, change by training on random ones, width {widths[-1]}",
            "none, or down",
            change["random labels"]["alignment"][-1],
            within=(-1.0, 0.02),
            remark=f"on true labels {np.mean(change['true labels']['alignment'][-1]):+.3f}",
        ),
    ]


def horizon_finding(short, long):
    """Where the optimum goes with the length of training: to be judged is only that it does not stay."""
    doublings = np.log2(long["steps"] / short["steps"])
    drawn = np.subtract.outer(long["draws"], short["draws"]) / doublings
    low, high = (float(v) for v in np.quantile(drawn, [0.05, 0.95]))
    value = (long["optimum"] - short["optimum"]) / doublings
    return Finding(
        statement=f'10. "The schedule comes for free": drift of the optimal log2 lr from {short["steps"]} steps to '
        f"{long['steps']}, octaves per doubling of steps",
        published="false: not 0, the optimum moves with the length of training",
        measured=str(Slope(value=value, low=low, high=high)),
        holds=True if low > 0 or high < 0 else None,
        remark=f"{short['optimum']:.1f} → {long['optimum']:.1f}",
    )


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for name, rows in data["movement_by_norm"].items():
        left.loglog(data["deep_widths"], [np.mean(r) for r in rows], "o-", label=name)
    left.set(xlabel="width", ylabel="movement", title="4. how far parameters move")
    left.set_ylim(top=60 * left.get_ylim()[1])
    left.legend(loc="upper right", fontsize=8)
    for name, rows in data["two_deviations"].items():
        right.loglog(data["widths"], [np.mean(r) for r in rows], "o-", label=name)
    right.set(xlabel="width", ylabel="relative change of the kernel", title="2. two deviations")
    right.legend()


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
