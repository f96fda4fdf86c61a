"""Names through the wrappers that people put around a model."""

import pytest
import torch
from torch import nn

from mutransfer.parameterization.model.names import canonical, unwrapped


@pytest.mark.parametrize(
    "wrapped",
    [
        "layers.0.weight",
        "module.layers.0.weight",  # DistributedDataParallel
        "_orig_mod.layers.0.weight",  # torch.compile
        "module._orig_mod.layers.0.weight",
        "_orig_mod.module.layers.0.weight",
        "layers.0._checkpoint_wrapped_module.weight",  # activation checkpointing
        "module.layers._orig_mod.0._checkpoint_wrapped_module.weight",
    ],
)
def test_wrappers_leave_no_trace_in_a_canonical_name(wrapped):
    assert canonical(wrapped) == "layers.0.weight"
    assert canonical(wrapped, {"layers.0.weight", "layers.1.weight"}) == "layers.0.weight"


def test_a_component_that_only_contains_a_wrappers_name_stays():
    # mup strips the letters of "module." instead: "module.embed.weight" became "bed.weight".
    assert canonical("submodule.module_list.embed.weight") == "submodule.module_list.embed.weight"


def test_the_users_own_module_attribute_stays_with_or_without_a_wrapper():
    own = {"module.head.weight", "module.head.bias"}
    assert canonical("module.head.weight", own) == "module.head.weight"
    assert canonical("module.module.head.weight", own) == "module.head.weight"
    assert canonical("_orig_mod.module.head.bias", own) == "module.head.bias"


def test_blocks_that_the_factory_compiles_are_found_again_under_a_second_wrapper():
    own = {"blocks.0._orig_mod.weight", "head.weight"}
    assert canonical("module.blocks.0._orig_mod.weight", own) == "blocks.0._orig_mod.weight"


def test_an_unknown_name_comes_back_bare():
    assert canonical("module.other.weight", {"head.weight"}) == "other.weight"


def test_the_root_module_has_the_empty_path():
    assert canonical("") == canonical("module") == ""


@pytest.mark.parametrize(
    "wrap", [lambda m: m, nn.DataParallel, lambda m: torch.compile(nn.DataParallel(torch.compile(m)))]
)
def test_wrappers_come_off_down_to_the_users_own_module(wrap):
    own = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert unwrapped(wrap(own)) is own
