"""Losses: small pure functions of tensors. Each is a sum over places, for its caller to divide.

A sum rather than a mean, so that the parts of an optimiser step, however they are cut into
micro-batches and processes, add up to the same number.
"""
