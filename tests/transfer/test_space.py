"""Ranges of hyperparameters: their grids, their units, and what is refused."""

import math

import pytest

from mutransfer.errors import ConfigError
from mutransfer.training.spec import RunSpec
from mutransfer.transfer.search.space import Choice, Range, at_point, parse_space, unit_points, value_at


def test_a_log_grid_is_even_in_octaves_and_holds_both_ends():
    assert Range(low=2**-11, high=2**-2).grid() == [float(x) for x in range(-11, -1)]


def test_a_spacing_of_half_an_octave_doubles_the_intervals():
    assert Range(low=0.25, high=1.0, spacing=0.5).grid() == [-2.0, -1.5, -1.0, -0.5, 0.0]


def test_a_spacing_that_does_not_divide_the_range_is_rounded_so_that_both_ends_stay():
    grid = Range(low=2**-3, high=0.5, spacing=0.8).grid()  # 2 octaves: 2.5 intervals, rounded to 2
    assert grid == [-3.0, -2.0, -1.0]


def test_a_range_narrower_than_its_spacing_still_has_two_points():
    assert Range(low=1.0, high=1.1, spacing=1.0).grid() == pytest.approx([0.0, math.log2(1.1)], abs=1e-15)


def test_a_linear_grid_is_in_natural_units():
    assert Range(low=0.0, high=0.75, log=False, spacing=0.25).grid() == [0.0, 0.25, 0.5, 0.75]


def test_the_unit_position_is_logarithmic_on_a_log_axis_and_linear_on_a_linear_one():
    assert Range(low=2**-8, high=1.0).unit(2**-2) == pytest.approx(0.75, abs=1e-12)
    assert Range(low=0.0, high=2.0, log=False).unit(0.5) == 0.25


@pytest.mark.parametrize("log", [True, False])
def test_the_ends_of_a_range_are_0_and_1_in_units(log):
    r = Range(low=0.01, high=0.9, log=log)
    assert (r.unit(0.01), r.unit(0.9)) == (0.0, 1.0)


@pytest.mark.parametrize("log", [True, False])
def test_the_distribution_that_optuna_sees_has_the_same_ends_and_axis(log):
    d = Range(low=0.01, high=0.9, log=log).distribution()
    assert (d.low, d.high, d.log) == (0.01, 0.9, log)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"low": 1.0, "high": 1.0}, "low < high"),
        ({"low": 2.0, "high": 1.0}, "found 2.0 .. 1.0"),
        ({"low": 0.0, "high": 1.0}, "low > 0 on a log axis"),
        ({"low": -1.0, "high": 1.0}, "low > 0 on a log axis"),
        ({"low": 1.0, "high": math.inf}, "finite"),
        ({"low": math.nan, "high": 1.0}, "found nan .. 1.0"),
        ({"low": 1.0, "high": 2.0, "spacing": 0.0}, "spacing must be positive, found 0.0"),
    ],
)
def test_a_range_that_is_none_is_refused_with_what_was_found(fields, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Range(**fields)


def test_a_pair_is_on_a_log_axis_unless_it_includes_zero():
    space = parse_space({"lr": (1e-4, 1e-1), "momentum": [0, 0.9]})
    assert space == {"lr": Range(low=1e-4, high=1e-1), "momentum": Range(low=0.0, high=0.9, log=False)}


def test_a_range_is_taken_as_it_is():
    mine = Range(low=1e-4, high=1e-1, spacing=0.25)
    assert parse_space({"lr": mine})["lr"] is mine


@pytest.mark.parametrize("value", [0.1, (0.1,), (1, 2, 3), ("low", "high"), None, "ab"])
def test_what_is_no_pair_is_refused_with_its_name_and_value(value):
    with pytest.raises(ConfigError, match=r"space\['lr'\]: expected \(low, high\) or Range") as error:
        parse_space({"lr": value})
    assert repr(value) in str(error.value)


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match="the search space is empty"):
        parse_space({})


@pytest.mark.parametrize("lr", [(0, 0.1), Range(low=1e-3, high=0.1, log=False)])
def test_a_learning_rate_on_a_linear_axis_is_refused_for_grids_are_in_octaves(lr):
    with pytest.raises(ConfigError, match="the learning rate is searched on a log2 axis"):
        parse_space({"lr": lr})


def test_a_choice_of_numbers_has_an_order_and_one_of_names_has_none():
    batch = Choice((64, 16, 32))
    assert [batch.columns(x) for x in (16, 32, 64)] == [[0.0], [0.5], [1.0]]
    schedule = Choice(("constant", "linear", "cosine"))
    assert schedule.columns("linear") == [0.0, 1.0, 0.0]
    points = [{"lr": 0.5, "schedule": "cosine"}, {"lr": 0.125, "schedule": "constant"}]
    axes = {"lr": Range(low=0.125, high=0.5), "schedule": schedule}
    assert unit_points(axes, points).tolist() == [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("values", [(), ("linear",), (16, 16)])
def test_a_choice_of_one_value_is_refused(values):
    with pytest.raises(ConfigError, match="at least two different values"):
        Choice(values)


def test_a_point_sets_fields_and_hyperparameters():
    own = {"lr": 0.1, "beta1": 0.5}
    template = RunSpec(task="none", width=8, base_width=8, hyperparameters=own, warmup_steps=3)
    found = at_point(template, {"lr": 0.2, "lr_mult_hidden": 2, "batch_size": 6.0, "schedule": "cosine"})
    assert found.hyperparameters == {"lr": 0.2, "beta1": 0.5, "lr_mult_hidden": 2.0}
    assert (found.batch_size, found.schedule, found.warmup_steps) == (6, "cosine", 3)
    names = ("lr", "batch_size", "schedule", "output_mult", "weight_decay", "beta2")
    assert [value_at(found, name) for name in names] == [0.2, 6, "cosine", 1.0, 0.0, 0.999]


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ({"batch_size": (16, 64)}, r"space\['batch_size'\]: whole numbers are searched by Choice"),
        ({"lr": Choice((0.1, 0.2))}, "the learning rate is searched on a log2 axis"),
    ],
)
def test_axes_that_do_not_fit_their_name_are_refused(space, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_space(space)
