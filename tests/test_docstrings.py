"""Examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import mutransfer

MODULES = [m.name for m in pkgutil.walk_packages(mutransfer.__path__, "mutransfer.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
