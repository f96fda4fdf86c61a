"""Sums over parameters of products of gradients, in the cheapest order."""
