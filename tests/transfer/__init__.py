"""Tests of mutransfer.transfer: the search, the record of runs, the estimate of an optimum, and the verdict."""
