"""All rows of the table of models in the wild."""

from experiments.model_zoo.wild.check import Row
from experiments.model_zoo.wild.text import TEXT

ROWS: dict[str, Row] = {**TEXT}
