"""A language model at work on the accelerator: programs, page tables and the cache that passes from run to run.

A prompt goes in by whole chunks through one program, its rest and all that follows token by token through another; both
share the cache. The host does what a driver would: hands out pages, writes positions and ids, reads the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import heddle
import numpy as np
from heddle.layers import MOST_TOKENS, require_range, require_type, unknown
from heddle.text import token_ids
from numpy.typing import NDArray


@dataclass
class Run:
    """One run of a program: how many tokens of each sequence it took, what came out, and what the simulator says."""

    kind: str  # prefill or decode
    tokens: int
    positions: tuple[int, ...]  # of the first token, for each sequence
    logits: NDArray[np.float32]  # (rows, vocabulary); of a model without head, what the head would read
    next: NDArray[np.int32]  # (rows,): the likeliest token; of a model without head, nothing
    result: Any
    comparison: Any = None  # with the RTL, if there was one

    @property
    def cycles(self) -> int:
        """Cycles of the run."""
        return self.result.cycles


@dataclass
class Session:
    """Sequences of one model on one accelerator. A program is compiled when it is first needed.

    model      as for `compile_decoder`
    plan       the cache; `plan.pages` may be fewer than all sequences together would need
    sequences  how many are decoded together
    chunk      tokens of a prompt that are taken at once, fewer where they do not fit; 1: none
    window     tokens that the model sees; pages that lie before it are used again; 0: all
    engine     None: the simulator alone; else its runs are compared with the RTL on that engine
    """

    model: Any
    config: heddle.HardwareConfig  # or the name of a preset, or the path of a .toml file
    plan: heddle.CachePlan
    sequences: int = 1
    chunk: int = 32
    context: int | None = None
    window: int = 0
    options: dict[str, Any] = field(default_factory=dict)  # more arguments of compile_decoder
    engine: str | None = None
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = config = heddle.get_config(self.config)
        self._check()
        plan = self.plan
        page_tokens = config.columns << plan.page_blocks(config)
        self.page_tokens, self.entries = page_tokens, -(-plan.tokens // page_tokens)
        self.pages = plan.pages or self.sequences * self._pages_of_a_sequence()
        self.plan = heddle.CachePlan(plan.tokens, page_tokens, self.pages)
        self.restart()

    def _check(self) -> None:
        """Raise HeddleError for an argument that is none, before anything is compiled."""
        if not hasattr(self.model, "forward"):  # the compiler looks closer, and loads PyTorch
            raise heddle.HeddleError(f"the model must be a torch.nn.Module, not {type(self.model).__name__}")
        require_type("plan", self.plan, heddle.CachePlan, "a CachePlan, such as CachePlan(tokens=256)")
        require_type("options", self.options, dict, "more arguments of compile_decoder, by name")
        for name, least in (("sequences", 1), ("chunk", 1), ("window", 0)):
            require_range(name, getattr(self, name), least, MOST_TOKENS)
        if self.context is not None:
            require_range("context", self.context, 1, MOST_TOKENS)
        if self.engine is not None and self.engine not in heddle.ENGINES:
            raise unknown("engine", self.engine, heddle.ENGINES, "engines", ", or None for the simulator alone")

    def restart(self) -> None:
        """Forget all sequences. The programs and the list of runs stay."""
        self.cache: NDArray[np.uint8] | None = None  # all zeros
        self.lengths = [0] * self.sequences
        self.tables = np.zeros((self.sequences, self.entries), np.int64)
        self._given: list[list[int]] = [[] for _ in range(self.sequences)]  # pages of each sequence, in order
        # Not in order: a table that happens to be the identity would hide a mistake.
        self._free = list(np.random.default_rng(0).permutation(self.pages))

    @cached_property
    def decode(self) -> heddle.Program:
        """Takes a token of each sequence."""
        return self._compile(1, self.sequences, "decode")

    @cached_property
    def prefill(self) -> heddle.Program | None:
        """Takes a chunk of one sequence; `chunk` is halved until it fits the machine."""
        while self.chunk > 1:
            try:
                return self._compile(self.chunk, 1, "prefill")
            except heddle.HeddleError:
                half = self.chunk // 2 // self.config.columns * self.config.columns
                if not half:
                    raise
                self.chunk = half
        return None

    def _compile(self, tokens: int, sequences: int, kind: str) -> heddle.Program:
        return heddle.compile_decoder(
            self.model, self.config, self.plan, tokens=tokens, sequences=sequences, context=self.context,
            name=f"{type(self.model).__name__.lower()}-{kind}", **self.options,
        )  # fmt: skip

    def _pages_of_a_sequence(self) -> int:
        """Pages that are in use at once: all, or those that a window and the tokens of a run may touch."""
        if not self.window:
            return self.entries
        return min(self.entries, -(-(self.window + self.chunk) // self.page_tokens) + 1)

    def _reserve(self, sequence: int, length: int) -> None:
        """Give a sequence the pages that `length` tokens need. Raises HeddleError if there are no more."""
        if length > self.plan.tokens:
            raise heddle.HeddleError(f"the cache holds {self.plan.tokens} tokens of a sequence, not {length}: shorten "
                                     f"the prompt, ask for fewer tokens or make the cache larger")  # fmt: skip
        given, in_use = self._given[sequence], self._pages_of_a_sequence()
        while len(given) * self.page_tokens < length:
            if self.window and len(given) >= in_use:
                page = given[len(given) - in_use]  # its tokens have left the window
            elif self._free:
                page = int(self._free.pop(0))
            else:
                raise heddle.HeddleError(f"the cache has only {self.pages} pages of {self.page_tokens} tokens, and all "
                                         f"are in use: give it more pages")  # fmt: skip
            self.tables[sequence, len(given)] = page
            given.append(page)

    def feed(self, ids: Sequence[int], sequence: int = 0) -> list[Run]:
        """Take the tokens of a prompt: whole chunks, then one by one (with one sequence only). Returns the runs."""
        ids, runs = token_ids(ids), []
        if sequence not in range(self.sequences):
            raise heddle.HeddleError(f"sequence must be from 0 to {self.sequences - 1}, not {sequence}")
        start = self.lengths[sequence]
        self._reserve(sequence, start + len(ids))
        while len(ids) >= self.chunk and start % self.config.columns == 0 and self.prefill:
            chunk, ids = ids[: self.chunk], ids[self.chunk :]
            runs.append(self._run(self.prefill, "prefill", chunk, [sequence]))
            start += self.chunk
        if ids and self.sequences > 1:
            raise heddle.HeddleError(f"with {self.sequences} sequences a prompt must be a multiple of {self.chunk} "
                                     f"tokens: {len(ids)} are left; give them to `step`")  # fmt: skip
        return runs + [self.step([each]) for each in ids]

    def step(self, ids: Sequence[int]) -> Run:
        """One token of each sequence."""
        ids = token_ids(ids)
        if len(ids) != self.sequences:
            raise heddle.HeddleError(f"a step takes one token of each of {self.sequences} sequences, not {len(ids)}")
        for sequence in range(self.sequences):
            self._reserve(sequence, self.lengths[sequence] + 1)
        return self._run(self.decode, "decode", ids, list(range(self.sequences)))

    def _run(self, program: heddle.Program, kind: str, ids: list[int], sequences: list[int]) -> Run:
        starts = tuple(self.lengths[each] for each in sequences)
        tokens = len(ids) // len(sequences)
        positions = np.concatenate([start + np.arange(tokens) for start in starts])
        moved = (program if self.cache is None else program.with_cache(self.cache)).at(*starts)
        known = {"positions": positions, "pages": self.tables[sequences]}
        # What is neither is the ids, by the name of forward's parameter. A model may do without positions.
        inputs = {tensor.name: known.get(tensor.name, np.array(ids)) for tensor in program.inputs()}
        result = heddle.simulate(moved, inputs)
        comparison = heddle.lockstep(moved, inputs, self.engine) if self.engine else None
        self.cache = result.cache[0]
        for each in sequences:
            self.lengths[each] += tokens
        logits, following = result.outputs["logits"][0], np.zeros(0, np.int32)
        if "next" in result.outputs:
            following = _winners(logits, result.outputs["next"][0], self.config.columns)
        self.runs.append(Run(kind, tokens, starts, logits, following, result, comparison))
        if comparison is not None and not comparison.agrees:
            raise heddle.HeddleError(f"the RTL differs from the simulator: {comparison.first_difference}")
        return self.runs[-1]


def _winners(logits: NDArray[np.float32], places: NDArray[np.int32], columns: int) -> NDArray[np.int32]:
    """The likeliest token of each row (rows,) from the likeliest of each group of the vocabulary (groups, rows)."""
    words = -(-logits.shape[1] // columns)
    size = -(-words // len(places)) * columns
    tokens = places + size * np.arange(len(places))[:, None]  # (groups, rows)
    best = np.take_along_axis(logits.T, tokens, axis=0).argmax(0)
    return np.take_along_axis(tokens, best[None], axis=0)[0]
