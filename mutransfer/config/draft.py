"""A model factory by its import string: its plan at a glance, and a commented config to study it with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mutransfer.config.imports import import_string
from mutransfer.config.loading import parse_value
from mutransfer.config.table import load_table
from mutransfer.errors import BuildError, ClassificationError, ConfigError
from mutransfer.parameterization.model.factory import Build, skeleton
from mutransfer.parameterization.plan import Plan
from mutransfer.theory import regimes, rules
from mutransfer.training.optimizers.table import OPTIMIZER_RULES
from mutransfer.training.out_of_memory import available_bytes
from mutransfer.transfer.runs.runner import default_device
from mutransfer.widths import Width, show_width

CANDIDATES = (64, 128, 32, 256, 16, 512)  # base widths to try, the most usual first
_OPTIONS = ("base_width", "width", "parameterization", "optimizer", "form", "lr_rule")


def load_factory(name: str) -> Build:
    """The factory that ``package.module:factory`` names."""
    factory = import_string(name, "factory")
    if not callable(factory):
        raise ConfigError(f"{name} is a {type(factory).__name__}; expected a function build(width) -> torch.nn.Module")
    return factory


def explain_factory(name: str, options: Sequence[str]) -> str:
    """The plan of ``package.module:factory`` and what theory says of it; options are ``key=value``."""
    given = _parsed(options)
    build = load_factory(name)
    base: Width = given.pop("base_width", None) or _base_width(build)
    width: Width = given.pop("width", None) or _grown(base)
    table = rules.parameterization(load_table(str(given.pop("parameterization", "mup"))), given.pop("lr_rule", None))
    plan = Plan.infer(build, width=width, base_width=base, parameterization=table, **given)
    regime = regimes.regime_of(plan, table)
    if regime is None:
        return f"{table.name}: {table.title}.\n{plan}"
    return f"{table.name}, {table.title}: {regime.kind} ({regime.binding}). {regime.predictions}.\n{plan}"


def init_config(name: str, *, room: float | None = None) -> str:
    """A commented YAML config for a factory, with what was found out about it and what is left to fill in.

    Its widths are those of which weights and optimizer fit into ``room`` bytes; None: half of the free memory.
    """
    build = load_factory(name)
    room = _room() if room is None else room
    base, widths, too_wide = proposed_widths(build, room)
    try:
        plan = Plan.infer(build, width=widths[0] if widths else base, base_width=base)
        notes, overrides = _notes(plan), "# overrides: {}              # nothing had to be said by hand\n"
    except ClassificationError as error:
        notes = [f"Not yet clear, see overrides: {line.strip()}" for line in str(error).splitlines()[:8]]
        overrides = "overrides: {}                # role or {fan_in: [..], fan_out: [..]} of each parameter above\n"
    if too_wide:
        taken, free = (f"{size / 2**30:.2g} GiB" for size in (needed_bytes(build, too_wide), room))
        notes.append(
            f"Width {too_wide} is left out: training it takes {taken} before any activations, {free} are meant for it."
        )
    # A factory's data lie beside it, as likely as not.
    data = f"{name.partition(':')[0]}:batch"
    comments = "\n".join(f"# {line}" for line in notes)
    return f"""# Hyperparameter transfer for {name}. Run it with: mutransfer run THIS_FILE
{comments}
model: {name}   # build(width) -> torch.nn.Module
data: {data}    # TO DO: batch(seed, step) -> (inputs, targets), the same for the same arguments
loss: cross_entropy          # or mse, or package.module:function (model, batch) -> scalar
{overrides}
parameterization: mup        # under study: {", ".join(rules.PARAMETERIZATIONS)}, a variant, or package.module:TABLE
compare: [sp, ntk]           # controls: verified in the same way, their verdicts do not change the exit code
optimizer: adamw             # or {", ".join(name for name in OPTIMIZER_RULES if name != "adamw")}

base_width: {base}               # tuned here; every parameterization is your own model at this width
widths: {widths}    # verified here: reach 8 times the base or more for intervals that decide
seeds: 3                     # initialisation and data order, the same for every width and learning rate

space:
  lr: {{log2: [-14, -5], spacing: 1}}   # an even grid, extended and refined around the minimum

training:
  steps: 200
  schedule: cosine           # decays to 0
  warmup_steps: 20
"""


def _parsed(options: Sequence[str]) -> dict[str, Any]:
    values = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in _OPTIONS:
            raise ConfigError(f"option -o {option}: for a factory, expected one of {', '.join(_OPTIONS)}, as key=value")
        values[key] = parse_value(option, value)
    return values


def _base_width(build: Build) -> int:
    """The first usual width at which the factory builds, and at twice of it."""
    tried = []
    for width in CANDIDATES:
        try:
            skeleton(build, width)
            skeleton(build, 2 * width)
        except BuildError as error:
            tried.append(str(error))
            continue
        return width
    raise ConfigError(
        f"the factory builds at none of the widths {', '.join(map(str, CANDIDATES))}: {tried[0]}. "
        "It must take a width, an int; give others with -o base_width=... -o width=..."
    )


def proposed_widths(build: Build, room: float) -> tuple[int, list[int], int | None]:
    """A base width, widths to verify at, and the first width that would have followed but for the memory.

    The first usual base is taken of which 8 times the width fits into ``room`` bytes; else the one with most that fit.
    """
    first, best = _base_width(build), None
    for base in (first, *(width for width in CANDIDATES if width < first and _builds(build, width))):
        wider = [w for k in (2, 4, 8, 16) if _builds(build, w := k * base)]
        fit = [w for w in wider if needed_bytes(build, w) <= room]
        found = base, fit, next((w for w in wider if w not in fit), None)
        if best is None or len(fit) > len(best[1]):
            best = found
        if len(fit) >= min(3, len(wider)):
            return found
    assert best is not None
    return best


def needed_bytes(build: Build, width: Width) -> int:
    """Memory of weights, gradients and the two moments of Adam at a width; activations depend on the data."""
    model = skeleton(build, width)
    return 4 * sum(p.numel() * p.element_size() for p in model.parameters())


def _room() -> float:
    """Bytes for weights and optimizer: half of what is free where studies train, without bound if that is unknown."""
    free = available_bytes(default_device())
    return math.inf if free is None else free / 2


def _builds(build: Build, width: Width) -> bool:
    try:
        skeleton(build, width)
    except BuildError:
        return False
    return True


def _grown(base: Width) -> Width:
    return {k: 4 * v for k, v in base.items()} if isinstance(base, Mapping) else 4 * base


def _notes(plan: Plan) -> list[str]:
    roles = Counter(str(s.role) for s in plan.values())
    counted = ", ".join(f"{n} {role}" for role, n in roles.most_common())
    notes = [f"At width {show_width(plan.width)} over {show_width(plan.base_width)}: {counted} parameters."]
    kinds = Counter((site.kind, site.mechanism) for site in plan.sites.values())
    notes += [f"Multiplied at run time: {n} {kind} (on {how})." for (kind, how), n in kinds.items()]
    return notes
