"""Tests of mutransfer.parameterization, one file per module and three for what the modules do together."""
