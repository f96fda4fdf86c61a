"""Files with mistakes are read or refused in words, in one process: a sample of what the benchmark does."""

import pytest

from experiments.benchmarks import mutated_files
from mutransfer.training.tasks.source_bytes import SourceBytesGPT


@pytest.mark.parametrize(("attempt", "n"), [(mutated_files.try_configs, 10), (mutated_files.try_plans, 50)])
def test_no_traceback_and_no_other_exit_code(tmp_path, attempt, n):
    counts, _, _ = attempt(n, 1, tmp_path)
    assert set(counts) <= {"exit code 0", "exit code 2", "taken", "refused"}
    assert counts.total() == n


@pytest.mark.parametrize("name", ["layers", "head_size", "context", "batch_size", "eval_windows"])
@pytest.mark.parametrize("value", [None, 0, -1, 1.5, True, "8"])
def test_a_size_of_the_byte_task_that_is_none_is_refused_by_its_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number above 0, found"):
        SourceBytesGPT(**{name: value})
