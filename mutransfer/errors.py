"""The exceptions of the toolkit. A message says what was expected, what was found, where, and what to do."""


class MutransferError(Exception):
    """Base of every error that mutransfer raises on purpose."""


class ConfigError(MutransferError):
    """A config file, an option or an argument that cannot be used."""


class BuildError(MutransferError):
    """The user's factory could not build the model at a width."""


class ExampleError(BuildError):
    """A model that does not run on the example it was given to be traced with."""


class ClassificationError(MutransferError):
    """A parameter whose role or initialisation law cannot be known from the model alone."""


class OverrideError(ClassificationError):
    """An override that does not fit the parameter it is for, or matches none."""

    def __init__(self, message: str, *, override: str) -> None:
        """``override``: its pattern, or the parameter that it is for."""
        super().__init__(message)
        self.override = override


class PlanMeasurementError(MutransferError):
    """A plan under which small models do not do what its parameterization predicts."""


class PlanError(MutransferError):
    """A plan that does not fit the model, the optimizer or the moment it is applied at."""


class KernelError(MutransferError):
    """A model that has no tangent kernel between single examples, or one that cannot be computed."""


class DataError(MutransferError):
    """Data that a task needs and that is missing, empty or of the wrong shape."""


class RecordError(MutransferError):
    """A run directory or storage that cannot be opened or is in use."""


class StackError(MutransferError):
    """Runs cannot be trained as one program; they can be one by one."""


class Interruption(Exception):
    """A study that the person stopped: no error. The message says what was kept and how to go on."""
