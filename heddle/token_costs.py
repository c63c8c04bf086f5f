"""What a token costs a decoder, in cycles and bytes of DRAM, with its cache and without, by the length of the context.

All is timed by the simulator, without values. The head (norm to logits) is needed only for the last token of a prompt,
so the programs that take many tokens are compiled without it, and it counts once, as a decode step with it less one
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import heddle


@dataclass(frozen=True)
class Cost:
    """Cycles, and bytes over the DRAM port."""

    cycles: float = 0
    bytes: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cycles + other.cycles, self.bytes + other.bytes)

    def __sub__(self, other: Cost) -> Cost:
        return self + other * -1

    def __mul__(self, times: float) -> Cost:
        return Cost(self.cycles * times, self.bytes * times)


@dataclass(frozen=True)
class TokenCosts:
    """For a sequence of `context` tokens."""

    context: int
    prompt: Cost  # per token, of taking all as a prompt, and the head for the last
    cached: Cost  # of the last token, the others being in the cache
    recomputed: Cost  # of the last token without a cache: the whole sequence again, and the head for the last

    @property
    def ratio(self) -> float:
        """How many times as many cycles it takes without the cache."""
        return self.recomputed.cycles / self.cached.cycles


class Costs:
    """The costs of one model, by its three programs: decode, decode without head, and a chunk without head."""

    def __init__(
        self, model: Any, config: heddle.HardwareConfig, longest: int, chunk: int, context: int,
        options: dict[str, Any], advance: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.chunk, self.advance = chunk, advance
        self.plan, self.config = heddle.CachePlan(longest), config

        def program(tokens: int, head: bool) -> heddle.Program:
            compiled = heddle.compile_decoder(
                model, config, self.plan, tokens=tokens, context=context, head=head, **options
            )
            advance()
            return compiled

        self.decode, self.body = program(1, True), program(1, False)
        self.take_chunk = program(chunk, False) if chunk <= longest else None
        self.step = cache(lambda position: self._time(self.decode, position))
        self.step_without_head = cache(lambda position: self._time(self.body, position))
        self.take = cache(lambda position: self._time(self.take_chunk, position))

    def at(self, context: int) -> TokenCosts:
        """The costs for a sequence of so many tokens: whole chunks, then one filled up or the rest one by one, as
        `Session.feed` takes them."""
        whole = context // self.chunk * self.chunk
        sequence = sum((self.take(start) for start in range(0, whole, self.chunk)), Cost())
        rest = sum((self.step_without_head(start) for start in range(whole, context)), Cost())
        if whole < context and whole + self.chunk <= self.plan.tokens:
            rest = min(rest, self.take(whole), key=lambda each: each.cycles)
        sequence += rest
        cached = self.step(context - 1)
        sequence += cached - self.step_without_head(context - 1)  # the head
        return TokenCosts(context, sequence * (1 / context), cached, sequence)

    def _time(self, program: Any, position: int) -> Cost:
        result = heddle.simulate(program.at(position), values=False)
        self.advance()
        return Cost(result.cycles, sum(result.bytes.values()))


def scaled(one: TokenCosts, two: TokenCosts, layers: int) -> TokenCosts:
    """The costs of a model of `layers` equal layers, from those of the same model with one and with two."""

    def scale(name: str) -> Cost:
        first, second = getattr(one, name), getattr(two, name)
        return first + (second - first) * (layers - 1)

    return replace(one, **{name: scale(name) for name in ("prompt", "cached", "recomputed")})
