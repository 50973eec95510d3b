"""Payload types: how many bits a client sends for K tokens, by a rate per token or by a table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ..problem import FloatArray, IntArray, Problem
from .uplink import payload_bits


class Payload(ABC):
    """The payloads S_m(K) of a problem's clients, bit.

    Attributes:
        uniform: whether every token takes the same bits. Areas are then convex in K: the best reply to a
            price is found by bisection, and tangents exist.
    """

    uniform: ClassVar[bool]

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def bits(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M) payload of token counts (..., M), bit."""

    @abstractmethod
    def nats(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M) payload S ln 2 of token counts, nat."""

    @abstractmethod
    def largest_tokens(self, bits: FloatArray) -> IntArray:
        """(M,) largest K in 0..N whose payload is within (M,) bits; 0 where none is."""


class UniformPayload(Payload):
    """beta_m (K + e) (paper eq. 4); counts may be fractional."""

    uniform = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.nats_per_token: FloatArray = problem.bits_per_token * math.log(2.0)

    def bits(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M), bit."""
        return payload_bits(tokens, self.problem.bits_per_token, self.problem.extra_tokens)

    def nats(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M), nat."""
        return self.nats_per_token * (tokens + self.problem.extra_tokens)

    def largest_tokens(self, bits: FloatArray) -> IntArray:
        """(M,)."""
        with np.errstate(over="ignore"):
            tokens = bits / self.problem.bits_per_token - self.problem.extra_tokens
        return np.floor(np.clip(tokens, 0, self.problem.tokens)).astype(np.int64)


class TablePayload(Payload):
    """Any strictly rising table of payloads; counts are whole, and those beyond N take what N take.

    Args:
        problem: the instance.
        table: (M, N + 1) bit.
    """

    uniform = False

    def __init__(self, problem: Problem, table: FloatArray) -> None:
        super().__init__(problem)
        self.table = table

    def bits(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M), bit."""
        counts = np.minimum(np.asarray(tokens), self.problem.tokens)
        return np.asarray(self.table[np.arange(self.problem.clients), counts])

    def nats(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M), nat."""
        return self.bits(tokens) * math.log(2.0)

    def largest_tokens(self, bits: FloatArray) -> IntArray:
        """(M,)."""
        return np.asarray(np.maximum(np.count_nonzero(self.table <= bits[:, None], axis=1) - 1, 0))


def payload_of(problem: Problem) -> UniformPayload | TablePayload:
    """The payload type of a problem: the only place that asks whether it has a table."""
    if problem.payload_bits is None:
        return UniformPayload(problem)
    return TablePayload(problem, problem.payload_bits)
