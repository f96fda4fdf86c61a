"""The record of runs, and doing those that it does not hold."""
