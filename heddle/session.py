"""A language model at work on the accelerator: programs, page tables and the cache that passes from run to run.

A prompt of any length goes in by chunks through one program, all that follows token by token through another; both
share the cache. The last chunk of a prompt is filled up, where that is quicker than its tokens one by one: what it
leaves in the cache beyond the prompt is hidden until later tokens take its place. The host does what a driver would:
hands out pages, writes positions and ids, reads the results.
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

    kind: str  # prefill or decode; source, if it took that
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
    chunk      tokens of a prompt that are taken at once, fewer where they do not fit; 1: none; None: as the compiler
               chooses (with a window as many as that, at most), and a number from then on
    window     tokens that the model sees; pages that lie before it are used again; 0: all
    engine     None: the simulator alone; else its runs are compared with the RTL on that engine
    """

    model: Any
    config: heddle.HardwareConfig  # or the name of a preset, or the path of a .toml file
    plan: heddle.CachePlan
    sequences: int = 1
    chunk: int | None = None
    context: int | None = None
    window: int = 0
    options: dict[str, Any] = field(default_factory=dict)  # more arguments of compile_decoder, such as `source`
    engine: str | None = None
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = config = heddle.get_config(self.config)
        self._check()
        plan = self.plan
        page_tokens = config.columns << plan.page_blocks(config)
        if self.chunk is None and self.window:
            self.chunk = max(self.window // config.columns * config.columns, 1)
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
            if name != "chunk" or self.chunk is not None:
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
    def encoder(self) -> heddle.Program:
        """Takes the source, of an encoder–decoder: `source` of the options."""
        return self._compile(0, 1, "source")

    def encode(self, **source: Any) -> Run:
        """Take another source, its inputs by name, of the shapes of the option `source`. Sequences begin anew, and go
        on from what it leaves in the cache."""
        examples = self.options.get("source")
        if not examples:
            raise heddle.HeddleError("only an encoder–decoder takes a source: give an example of it in the options")
        arrays = {name: np.asarray(each) for name, each in source.items()}
        for name, each in arrays.items():
            if name in examples and each.shape == tuple(examples[name].shape):
                arrays[name] = each[0]  # programs have no batch dimension
        self.restart()
        result = heddle.simulate(self.encoder, arrays)
        comparison = heddle.lockstep(self.encoder, arrays, self.engine) if self.engine else None
        self.cache = result.cache[0]
        states = result.outputs["states"][0]
        return self._done(Run("source", 0, (0,), states, np.zeros(0, np.int32), result, comparison))

    @cached_property
    def decode(self) -> heddle.Program:
        """Takes a token of each sequence."""
        return self._compile(1, self.sequences, "decode")

    @cached_property
    def prefill(self) -> heddle.Program | None:
        """Takes a chunk of one sequence; `chunk` is halved until it fits the machine."""
        if self.chunk is None:
            program = self._compile(None, 1, "prefill")
            self.chunk = program.tokens
            return program if program.tokens > 1 else None
        chunk = self.chunk
        while chunk > 1:
            try:
                program = self._compile(chunk, 1, "prefill")
            except heddle.HeddleError:
                chunk = chunk // 2 // self.config.columns * self.config.columns
                if not chunk:
                    raise
            else:
                self.chunk = chunk
                return program
        return None

    def _compile(self, tokens: int | None, sequences: int, kind: str) -> heddle.Program:
        return heddle.compile_decoder(
            self.model, self.config, self.plan, tokens=tokens, sequences=sequences, context=self.context,
            name=f"{type(self.model).__name__.lower()}-{kind}", **self.options,
        )  # fmt: skip

    def _pages_of_a_sequence(self) -> int:
        """Pages that are in use at once: all, or those that a window and the tokens of a run may touch."""
        if not self.window or self.chunk is None:
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
        """Take the tokens of a prompt, or of what goes on from one, chunk by chunk. Returns the runs. Raises
        HeddleError where only steps could take some of them, which take a token of each sequence."""
        ids, runs = token_ids(ids), []
        if sequence not in range(self.sequences):
            raise heddle.HeddleError(f"sequence must be from 0 to {self.sequences - 1}, not {sequence}")
        self._reserve(sequence, self.lengths[sequence] + len(ids))
        while ids:
            count = self._chunk_of(len(ids), sequence)
            some, ids = ids[: count or 1], ids[count or 1 :]
            if count:
                assert self.prefill is not None, "only where there is one, chunks are taken"
                runs.append(self._run(self.prefill, "prefill", some, [sequence]))
            elif self.sequences == 1:
                runs.append(self.step(some))
            else:
                raise heddle.HeddleError(
                    f"with {self.sequences} sequences a prompt goes in by chunks of {self.chunk} tokens, from a "
                    f"multiple of {self.config.columns} on and within the {self.plan.tokens} of the cache: "
                    f"{len(ids) + 1} are left at {self.lengths[sequence]}; give them to `step`"
                )  # fmt: skip
        return runs

    def _chunk_of(self, count: int, sequence: int) -> int:
        """How many of the next tokens a run of `prefill` takes; 0: a step is better, or all there is."""
        start, few = self.lengths[sequence], 2 if self.chunk else self.config.columns  # too few to compile for
        if (count < few and self.sequences == 1) or start % self.config.columns or not self.prefill:
            return 0
        assert self.chunk is not None, "it is known once there is a program"
        end = start + self.chunk
        missing = -(-end // self.page_tokens) - len(self._given[sequence])
        if end > self.plan.tokens or (missing > len(self._free) and not self.window):
            return 0
        pays = count >= self.chunk or self.sequences > 1 or count >= self._chunk_in_steps
        return min(count, self.chunk) if pays else 0

    @cached_property
    def _chunk_in_steps(self) -> float:
        """As many steps as take the cycles of a chunk."""
        assert self.prefill is not None, "only where there is one, this is asked"
        chunk, step = (heddle.simulate(each, values=False).cycles for each in (self.prefill, self.decode))
        return chunk / step

    def step(self, ids: Sequence[int]) -> Run:
        """One token of each sequence."""
        ids = token_ids(ids)
        if len(ids) != self.sequences:
            raise heddle.HeddleError(f"a step takes one token of each of {self.sequences} sequences, not {len(ids)}")
        for sequence in range(self.sequences):
            self._reserve(sequence, self.lengths[sequence] + 1)
        return self._run(self.decode, "decode", ids, list(range(self.sequences)))

    def _run(self, program: heddle.Program, kind: str, ids: list[int], sequences: list[int]) -> Run:
        if self.cache is None and self.options.get("source"):
            raise heddle.HeddleError("an encoder–decoder needs a source before its first token: call `encode`")
        starts, count = tuple(self.lengths[each] for each in sequences), len(ids)
        tokens = count // len(sequences)
        for each, start in zip(sequences, starts, strict=True):
            self._reserve(each, start + program.tokens)
        ids = ids + [0] * (program.tokens * len(sequences) - count)  # fill up the last chunk
        positions = np.concatenate([start + np.arange(program.tokens) for start in starts])
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
            following = _winners(logits, result.outputs["next"][0], self.config.columns)[:count]
        logits = logits[:count]
        return self._done(Run(kind, tokens, starts, logits, following, result, comparison))

    def _done(self, run: Run) -> Run:
        """Add it to the list. Raises HeddleError if the RTL differs."""
        self.runs.append(run)
        if run.comparison is not None and not run.comparison.agrees:
            raise heddle.HeddleError(f"the RTL differs from the simulator: {run.comparison.first_difference}")
        return run


def _winners(logits: NDArray[np.float32], places: NDArray[np.int32], columns: int) -> NDArray[np.int32]:
    """The likeliest token of each row (rows,) from the likeliest of each group of the vocabulary (groups, rows)."""
    words = -(-logits.shape[1] // columns)
    size = -(-words // len(places)) * columns
    tokens = places + size * np.arange(len(places))[:, None]  # (groups, rows)
    best = np.take_along_axis(logits.T, tokens, axis=0).argmax(0)
    return np.take_along_axis(tokens, best[None], axis=0)[0]
