"""The user's factory at the widths in question: skeletons made once and kept, and fresh models with values."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.factory import Build, build_at, check_unshared, fresh, skeleton
from mutransfer.widths import Width, check_width, show_width


class Builds:
    """A factory, the base width and the target width.

    >>> builds = Builds(lambda width: nn.Linear(8, width), base=64, target=256)
    >>> builds.skeleton(256) is builds.skeleton(256), builds.fresh(256) is builds.fresh(256)
    (True, False)
    """

    def __init__(self, build: Build, *, base: Width, target: Width) -> None:
        """
        Raises:
            BuildError: a width is not positive.
            PlanError: the widths are of different kinds.
        """
        check_width(target, "width")
        check_width(base, "base_width")
        mappings = isinstance(target, Mapping), isinstance(base, Mapping)
        if mappings[0] != mappings[1] or (
            isinstance(target, Mapping) and isinstance(base, Mapping) and target.keys() != base.keys()
        ):
            raise PlanError(
                f"width {target!r} and base_width {base!r} must be two ints, or two mappings with the same keys"
            )
        self.build, self.base, self.target = build, base, target
        self._skeletons: dict[str, nn.Module] = {}
        self._parameters: set[int] = set()  # of the skeletons, by id: no other model may have them
        self._compared = False  # two builds at one width

    def skeleton(self, width: Width) -> nn.Module:
        """The model at ``width``, on the meta device where the factory runs there; shared by all, so change nothing.

        Raises BuildError where the factory fails, or hands out parameters again.
        """
        key = show_width(width)
        if key not in self._skeletons:
            model = skeleton(self.build, width)
            check_unshared(self.build, model, self._parameters)
            self._skeletons[key] = model
            self._parameters |= {id(p) for p in model.parameters()}
        return self._skeletons[key]

    def fresh(self, width: Width, seed: int = 0) -> nn.Module:
        """A new model at ``width`` with the values of ``seed``; the random state is left as it was. Errors as above."""
        return self._new(fresh(self.build, width, seed), width)

    def drawn(self, width: Width) -> nn.Module:
        """A new model at ``width``, with values from the random state as it is. Errors as above."""
        return self._new(build_at(self.build, width), width)

    def check_new(self) -> None:
        """Refuse a factory that hands out one model again and again, where no second build has shown it yet."""
        _ = self.skeleton(self.base)
        if not self._compared:
            check_unshared(self.build, skeleton(self.build, self.base), self._parameters)
            self._compared = True

    def _new(self, model: nn.Module, width: Width) -> nn.Module:
        check_unshared(self.build, model, self._parameters)
        self._compared = self._compared or show_width(width) in self._skeletons
        return model
