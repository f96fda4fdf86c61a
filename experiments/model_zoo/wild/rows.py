"""All rows of the table of models in the wild."""

from experiments.model_zoo.wild.check import Row
from experiments.model_zoo.wild.packages import PACKAGES
from experiments.model_zoo.wild.published import PUBLISHED
from experiments.model_zoo.wild.text import TEXT
from experiments.model_zoo.wild.vision import VISION

ROWS: dict[str, Row] = {**TEXT, **VISION, **PACKAGES, **PUBLISHED}
