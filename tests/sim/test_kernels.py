"""Compiled kernels against the oracle, bit for bit: numbers, single instructions on memories full of hard numbers, and
whole programs."""

import random
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.functions import (
    DESCRIPTOR_COUNT,
    HEADER_PLACE,
    TABLE_COUNT,
    WORD_PLACE,
    Descriptor,
    Mode,
    Table,
    Word,
)
from heddle.arch.isa import (
    Axis,
    Codes,
    Combine,
    Digit,
    Function,
    Layout,
    Map,
    Masking,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Quantise,
    Reduce,
    Reduction,
    Result,
    Results,
    Scales,
    SecondOperand,
    Softmax,
    Source,
    Statistics,
)
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.functions import named
from heddle.compiler.pipeline import compile
from heddle.cosim.random_programs import random_program
from heddle.cosim.random_tables import random_table, random_words
from heddle.models.llama import Llama, LlamaConfig
from heddle.models.registry import WORKLOADS
from heddle.sim import kernels, units, values
from heddle.sim.jit import entry
from heddle.sim.kernels import float32
from heddle.sim.kernels.functions import packed
from heddle.sim.kernels.functions import replace as replace_by_table
from heddle.sim.machine import simulate
from heddle.sim.state import State, Words
from heddle.sim.values import run_values

from ..machines import BF16, NANO, ODD, SMALL, SMALL_VALUES

CONFIGS = {
    "nano": NANO,
    "odd": ODD,
    "float32": SMALL_VALUES,
    "small": SMALL,
    "bf16": BF16,
    "tf32": PRESETS["small"],
    "tf32 of float32": replace(SMALL_VALUES, vector_format="tf32"),
}
BATCH = 3


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request):
    return request.param


def same(found, expected):
    """Equal in every bit."""
    return found.dtype == expected.dtype and np.array_equal(bits(found), bits(expected))


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


# -- numbers -----------------------------------------------------------------------------------------------------------

EDGE = 1 - 2.0**-12, 1 + 2.0**-12  # their product is rounded up to 1 where 2⁻²⁴ is half of what the last bit counts
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 2.5, 126.5, -127.5, 2.0**-60, 2.0**-126, -(2.0**-126),
           2.0**-149, 2.0**-127, 3e38, -3e38, 2.0**127, 199.9, -126, -125.5, 127.99, 36, 6, -6]  # fmt: skip
SPECIAL += [sign * factor * 2.0**-63 for factor in EDGE for sign in (1, -1)]


def any_floats(random, shape):
    """Any bits at all, NaNs with any content included; special numbers; ordinary ones."""
    kind = random.integers(0, 4, shape)
    ordinary = random.normal(size=shape) * 2.0 ** random.integers(-8, 9, shape)
    anything = random.integers(0, 1 << 32, shape, np.uint64).astype(np.uint32).view(np.float32)
    special = random.choice(np.array(SPECIAL, np.float32), shape)
    return np.select([kind < 2, kind == 2], [ordinary.astype(np.float32), anything], special)


def ordinary_floats(random, shape):
    return random.normal(size=shape).astype(np.float32)


def finite_floats(random, shape):
    """Of all magnitudes, in one of two cases near the largest: where sums and products overflow."""
    exponents = random.integers(*((120, 128) if random.random() < 0.5 else (-149, 128)), shape).astype(np.float64)
    sizes = np.minimum(random.uniform(1, 2, shape) * 2.0**exponents, np.finfo(np.float32).max)
    return (random.choice([-1, 1], shape) * sizes).astype(np.float32)


@pytest.mark.parametrize("name", ["clean", "to_bf16"])
def test_functions_of_one_number(name):
    function = getattr(float32, {"to_bf16": "bf16"}.get(name, name))
    x = any_floats(np.random.default_rng(1), 1 << 18)
    x = np.concatenate([x, np.linspace(-140, 140, 1 << 18, dtype=np.float32), np.array(SPECIAL, np.float32)])
    x = np.concatenate([x, finite_floats(np.random.default_rng(0), 1 << 16)])
    if name != "clean":
        x = numerics.clean(x)
    found = np.empty_like(x)
    over(function)(x, found)
    assert same(found, getattr(numerics, name)(x))


def over(function):
    @entry
    def each(x, found):
        for n in range(len(x)):
            found[n] = function(x[n])

    return each


def test_products_and_sums():
    generator = np.random.default_rng(2)
    a, b = (numerics.clean(np.concatenate([any_floats(generator, 1 << 18), finite_floats(generator, 1 << 16)]))
            for _ in range(2))  # fmt: skip
    exactly, quickly, added, edges = (np.empty_like(a) for _ in range(4))
    arithmetic(a, b, exactly, quickly, added, edges)
    expected = numerics.multiply(a, b)
    assert same(exactly, expected) and same(added, numerics.add(a, b))
    finite = np.isfinite(quickly) & (edges == 0)
    assert same(quickly[finite], expected[finite])
    assert (bits(quickly) != bits(expected)).any(), "products at the edge"


@entry
def arithmetic(a, b, exactly, quickly, added, edges):
    for n in range(len(a)):
        exactly[n] = float32.canonical(float32.product(a[n], b[n]))
        quick, edge = float32.multiply(a[n], b[n], float32.i4(0))
        quickly[n], edges[n] = float32.canonical(quick), edge
        added[n] = float32.canonical(float32.add_saturated(a[n], b[n]))


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_row_sums_are_in_the_order_of_the_machine(lanes):
    generator = np.random.default_rng(lanes)
    for columns in [1, 3, 4, 17, 64, 100]:
        x = numerics.clean(generator.normal(size=columns) * 2.0 ** generator.integers(-20, 20, columns))
        assert summed(x, columns, np.empty(lanes, np.float32)) == numerics.row_sum(x, lanes)


@entry
def summed(x, columns, group):
    return float32.row_sum(x, columns, group)


# -- one instruction ---------------------------------------------------------------------------------------------------


def content(random, memory, words):
    """What a memory may hold, in the shape of `words`."""
    if words.dtype in (np.int8, np.int32):
        most = {np.int8: 128, np.int32: 1 << random.choice([8, 20, 31])}[words.dtype.type]
        return random.integers(-most, most, words.shape).astype(words.dtype)
    found = random.choice([any_floats, ordinary_floats, finite_floats], p=[0.4, 0.4, 0.2])(random, words.shape)
    if memory in (Memory.ACT, Memory.WEIGHT, Memory.VALUE) and random.random() < 0.9:
        found = numerics.to_bf16(found)
    return np.abs(found) if memory is Memory.PARAM and random.random() < 0.5 else found


def filled(config, seed):
    """A state whose words are the same for all inputs, or differ, or some of each."""
    random = np.random.default_rng(seed)
    base = np.zeros((64, config.axi_bytes), np.uint8)
    state = State(config, BATCH, Words(64, (config.axi_bytes,), np.uint8, BATCH, base=base))
    for memory in Memory:
        words = state[memory]
        words.shared[...], words.own[...] = content(random, memory, words.shared), content(random, memory, words.own)
        differing = random.random((1, words.count)) < random.choice([0, 0.1, 0.9, 1], p=[0.3, 0.2, 0.2, 0.3])
        words.differs[...] = differing
    state.tables.write(0, 0, np.array(any_tables(seed % 4), np.int64).reshape(1, 1, -1, 1))
    if seed % 8 == 5:  # words of one input
        words = np.repeat(state.tables.shared[:, WORD_PLACE:HEADER_PLACE], BATCH, 0)
        words[1] = words[1, ::-1]
        state.tables.write(WORD_PLACE, 0, words[:, None])
    return state


@cache
def any_tables(seed):
    """Entries for all places: tables of no function, one of them of a kind that needs nothing but lines."""
    maker = random.Random(seed)
    tables = [random_table(maker, (), number % 2 == 1).to_ints() for number in range(TABLE_COUNT)]
    tables[2] = named(["gelu", "sqrt", "tanh", "erf"][seed]).to_ints()[: 1 + DESCRIPTOR_COUNT]
    words = Table((Descriptor(),) * DESCRIPTOR_COUNT, random_words(maker)).to_ints()[1 + DESCRIPTOR_COUNT :]
    return [*(each for table in tables for each in table[1:]), *words, *(table[0] for table in tables)]


def held(state, memory):
    words = state[memory]
    differs = words.differs.reshape(1, -1, *[1] * (words.shared.ndim - 2))
    return np.where(
        np.broadcast_to(differs, words.own.shape), bits(words.own), bits(np.broadcast_to(words.shared, words.own.shape))
    )


def some(random, config, kind):
    """An instruction of this kind that the machine can execute."""
    for _ in range(10_000):
        common = {
            "rows": random.choice([1, 2, 5, 9, 17]), "columns": random.choice([1, 3, 4, 8, 15, 16, 17, 40]),
            "source_address": random.randrange(128), "source_stride": random.randrange(14),
            "address": random.randrange(1200), "stride": random.randrange(20),
            "param_address": random.randrange(64), "row_address": random.randrange(64),
        }  # fmt: skip
        vector = {
            "source": random.choice(list(Source)), "scaled": random.randrange(2), "row_scaled": random.randrange(2),
            "function": random.choice(list(Function)), "combine": random.choice(list(Combine)),
            "operand_address": random.randrange(600), "operand_stride": random.randrange(16),
            "operand": random.choice(list(SecondOperand)), "planes": random.choice([0, 0, 1, 2]),
        }  # fmt: skip
        if vector["combine"] is Combine.ROTATE:
            vector |= {"source": Source.VALUE, "scaled": 0, "row_scaled": 0, "function": Function.NONE, "planes": 0,
                       "operand": SecondOperand.VALUE}  # fmt: skip
        seen = {
            "causal": random.randrange(2), "window": random.choice([0, 0, 1, 3]), "offset": random.randrange(-3, 20),
            "scales_address": random.randrange(100, 200),
        }  # fmt: skip
        if kind is Map:
            layout = random.choice([Layout.ROWS, *Layout])
            one = Map(**common, **vector, operand_scaled=random.randrange(2), operand_row_address=random.randrange(64),
                      layout=layout, shift=random.randint(1 - config.columns, config.columns - 1))  # fmt: skip
            if random.random() < 0.2:
                one = replace(one, source=Source.VALUE, address=one.source_address, stride=one.source_stride)
        elif kind is Quantise:
            one = Quantise(**common, **vector, codes=random.choice(list(Codes)), scales=random.choice(list(Scales)),
                           scales_address=random.randrange(70, 90), digit=random.choice(list(Digit)))  # fmt: skip
        elif kind is Reduce:
            one = Reduce(**common, **vector, kind=random.choice(list(Reduction)), axis=random.choice(list(Axis)),
                         count=random.choice([1, 1, 3, 9]), results=random.choice(list(Results)),
                         placed=random.randrange(2), index_address=random.randrange(30))  # fmt: skip
        elif kind is Softmax:
            one = Softmax(**common, **seen, source=random.choice(list(Source)), mask=random.choice(list(Masking)),
                          result=random.choice(list(Result)), operand_address=random.randrange(64),
                          operand_stride=random.randrange(16))  # fmt: skip
            if one.result is Result.VALUES and one.source is Source.VALUE and random.random() < 0.5:
                one = replace(one, address=one.source_address, stride=one.source_stride)
        elif kind is OnlineSoftmax:
            one = OnlineSoftmax(**common, **seen, together=random.randrange(2), first=random.randrange(2),
                                state_address=random.randrange(250, 300))  # fmt: skip
        elif kind is Norm:
            del common["row_address"]
            one = Norm(**common, kind=random.choice(list(NormKind)), reciprocal=1 / common["columns"],
                       epsilon=random.choice([0.0, 1e-5, 1e-40]), statistics=random.choice(list(Statistics)),
                       statistics_address=random.randrange(100, 200))  # fmt: skip
        else:
            k, n = random.choice([1, 2, 5, 300]), random.choice([1, 2, 5, 20])  # 20: several strips
            one = Matmul(rows=common["rows"], k_tiles=k, n_tiles=n, act_address=random.randrange(64), act_stride=k,
                         weight_address=random.randrange(64), weight_stride=random.choice([k, k + 1]) * config.rows,
                         acc_address=random.randrange(64), acc_stride=n + random.randrange(3),
                         accumulate=random.randrange(2))  # fmt: skip
        try:
            one.check(config)
        except HeddleError:
            continue
        return one
    raise AssertionError("no legal instruction")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # sums of NaN as numbers
@pytest.mark.parametrize(
    "kind", [Map, Quantise, Reduce, Softmax, OnlineSoftmax, Norm, Matmul], ids=lambda k: k.__name__
)
def test_an_instruction_does_what_the_oracle_says(config, kind):
    for seed in range(100 if kind is Map else 40):
        compare_instruction(some(random.Random(seed), config, kind), config, seed)


def compare_instruction(instruction, config, seed):
    plain, compiled = filled(config, seed), filled(config, seed)
    units.execute(instruction, plain, config)
    kernels.execute(instruction, compiled, config)
    differing = [memory.name for memory in Memory if not np.array_equal(held(plain, memory), held(compiled, memory))]
    assert not differing, f"seed {seed}: {instruction}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", [Map, Quantise, Reduce], ids=lambda k: k.__name__)
def test_blocks_of_rows_may_be_of_any_size(kind, monkeypatch):
    for block in (1, 48):
        monkeypatch.setattr(kernels.vector, "BLOCK", block)
        for seed in range(100, 140):
            compare_instruction(some(random.Random(seed), SMALL, kind), SMALL, seed)


def test_sums_of_the_greatest_products_are_exact():
    instruction = Matmul(rows=9, k_tiles=255, n_tiles=3, act_stride=255, weight_stride=2040, acc_stride=3)
    states = [State(SMALL, 1, filled(SMALL, 0).dram) for _ in range(2)]
    for state, execute in zip(states, (units.execute, kernels.execute), strict=True):
        for memory in (Memory.ACT, Memory.WEIGHT):
            state[memory].shared[...] = -128
        execute(instruction, state, SMALL)
        assert (state[Memory.ACC].read(0, 0, 1, 27) == 2040 << 14).all()


def test_products_at_the_edge_are_computed_again(nano):
    # (1 - 2⁻¹²)·(1 + 2⁻¹²)·2⁻¹²⁶ is 2⁻¹²⁶ in numpy's float32, and 0 in the machine.
    plain, compiled = (State(nano, 1, filled(nano, 0).dram) for _ in range(2))
    for state in (plain, compiled):
        state[Memory.VALUE].write(0, 0, np.full((1, 1, 1, 4), EDGE[0] * 2.0**-60, np.float32))
        state[Memory.PARAM].write(0, 0, np.full((1, 1, 1, 4, 2), [EDGE[1] * 2.0**-66, -0.0], np.float32))
        state[Memory.VALUE].write(9, 0, np.ones((1, 1, 1, 4), np.float32))
    instruction = Map(columns=3, source=Source.VALUE, scaled=1, address=9)
    units.execute(instruction, plain, nano)
    kernels.execute(instruction, compiled, nano)
    assert np.array_equal(bits(plain[Memory.VALUE].read(9, 0, 1, 1)), np.zeros((1, 1, 1, 4), np.uint32))
    assert np.array_equal(bits(compiled[Memory.VALUE].read(9, 0, 1, 1)), np.zeros((1, 1, 1, 4), np.uint32))


@pytest.mark.parametrize("vector_format", ["float32", "tf32"])
@pytest.mark.parametrize("name", ["gelu", "silu", "rsqrt", "log", "exp", "sin", "relu"])
def test_functions_of_many_numbers(name, vector_format):
    config = replace(SMALL_VALUES, vector_format=vector_format)
    header, *others = named(name).to_ints()
    generator = np.random.default_rng(3)
    instruction = Map(rows=64, columns=256, source=Source.VALUE, source_stride=32, address=2048, stride=32,
                      function=Function.TABLE_0)  # fmt: skip
    x = np.concatenate([any_floats(generator, 64 * 128), np.linspace(-40, 40, 64 * 128, dtype=np.float32)])
    states = [filled(config, 0) for _ in range(2)]
    for state, execute in zip(states, (units.execute, kernels.execute), strict=True):
        state[Memory.VALUE].write(0, 0, x.reshape(1, 1, 2048, 8))
        for place, entries in ((0, others[:DESCRIPTOR_COUNT]), (WORD_PLACE, others[DESCRIPTOR_COUNT:]),
                               (HEADER_PLACE, [header])):
            state.tables.write(place, 0, np.array(entries).reshape(1, 1, -1, 1))
        execute(instruction, state, config)
    assert np.array_equal(held(states[0], Memory.VALUE), held(states[1], Memory.VALUE))
    found = states[1][Memory.VALUE].read(2048, 0, 1, 2048).reshape(-1)
    arithmetic = numerics.arithmetic_of(config)
    assert same(found, arithmetic.by_table(named(name), arithmetic.round(x)))


def test_a_sum_beyond_24_bits_wraps():
    """LOGARITHM of an infinity: 128·2⁹·130,980 >> 10 and 8·15,932 are 8,510,176, from which 2²⁴ goes: −8,267,040, so
    y = −8,267,039·2⁻¹⁶, in 16 bits −126.14453125."""
    logarithm = Table((Descriptor(mode=Mode.LOGARITHM),) * DESCRIPTOR_COUNT, (Word(c0=15_932),), 130_980, of_exponent=1)
    x = np.array([np.inf], np.float32)
    assert numerics.Arithmetic(24).by_table(logarithm, x) == np.float32(-126.14453125)
    replace_by_table(x, packed(logarithm), 16)
    assert x == np.float32(-126.14453125)


# -- whole programs ----------------------------------------------------------------------------------------------------


def compare_program(program, inputs=None):
    """Every byte of DRAM after either engine."""
    plain, compiled = (simulate(program, inputs, timing=False, engine=name) for name in ("plain", "compiled"))
    assert np.array_equal(plain.image, compiled.image)


def test_random_programs_compute_the_same(config):
    for seed in range(25):
        compare_program(random_program(config, seed))


@pytest.mark.long
def test_thousands_of_random_programs_compute_the_same(config):
    for seed in range(10_000, 11_000):
        compare_program(random_program(config, seed, 100))


@pytest.mark.long
@pytest.mark.parametrize(
    "kind", [Map, Quantise, Reduce, Softmax, OnlineSoftmax, Norm, Matmul], ids=lambda k: k.__name__
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_thousands_of_instructions_do_what_the_oracle_says(config, kind):
    for seed in range(10_000, 11_000):
        compare_instruction(some(random.Random(seed), config, kind), config, seed)


@pytest.fixture(scope="module")
def digits():
    workload = WORKLOADS["digits-vit"]
    return compile(workload.model(), [torch.zeros(1, 1, 8, 8)], SMALL, tiling=Tiling()), workload.load(5).inputs


def test_digits_vit_computes_the_same_in_chunks_of_any_size(digits, monkeypatch):
    compare_program(*digits)
    monkeypatch.setattr(values, "CHUNK", 2)
    compare_program(*digits)


@pytest.mark.parametrize("precision", ["w8a8", "w16a16"])
def test_a_decoder_computes_the_same(precision):
    torch.manual_seed(1)
    model = Llama(LlamaConfig(vocabulary=19, context=40, width=16, depth=1, heads=4, kv_heads=2, hidden=24)).eval()
    for tokens, position in [(1, 17), (16, 3)]:
        plan = CachePlan(40, 2 * NANO.columns)
        program = compile_decoder(model, NANO, plan, tokens=tokens, precision=precision, tiling=Tiling()).at(position)
        generator = np.random.default_rng(tokens)
        numbers = {
            each.name: np.arange(each.columns).reshape(each.shape) * np.ones((2, *[1] * len(each.shape)), int)
            if each.memory is Memory.PAGE
            else generator.integers(0, 19, (2, *each.shape))
            for each in program.inputs()
        }
        compare_program(program, numbers)


# -- simulate ----------------------------------------------------------------------------------------------------------


def test_progress_and_watch_work_with_kernels(digits):
    program, inputs = digits
    done, seen = [], []
    run_values(program, inputs, lambda *at: done.append(at), None, lambda index, *_: seen.append(index), "compiled")
    assert done[-1] == (len(seen), len(seen)) and seen == list(range(len(program.instructions) - 1))


def test_large_amounts_of_work_are_compiled_unless_told(digits, monkeypatch):
    program, inputs = digits
    used = []
    monkeypatch.setattr(kernels, "execute", lambda *given: used.append(1) or units.execute(*given))
    monkeypatch.setattr(values, "kernels_are_loaded", lambda: False)
    run_values(program, inputs)
    run_values(program, inputs, engine="plain")
    assert not used
    monkeypatch.setattr(values, "COMPILED_FROM", 1000)
    run_values(program, inputs)
    assert used


def test_an_unknown_engine_is_refused(digits):
    with pytest.raises(HeddleError, match="engine must be 'auto', 'plain' or 'compiled', not 'fast'"):
        simulate(digits[0], values=False, engine="fast")


def test_a_small_run_does_not_load_numba():
    script = """
import sys, heddle
from heddle.arch.isa import Halt, Map
from heddle.arch.program import Program
program = Program(heddle.get_config("nano"), (Map(columns=4), Halt()), 1 << 13)
heddle.simulate(program)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
