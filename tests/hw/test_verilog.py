"""What repeats is written to Verilog once, and that Verilog, run by Icarus, does what Amaranth's simulator does."""

import random
import re
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.hw.array import Array
from heddle.hw.memories import BankedMemory
from heddle.hw.pe import Pe
from heddle.hw.verilog import instance, to_verilog

from ..machines import ODD

ROOT = Path(__file__).parents[2]
SHORT = replace(ODD, param_words=16)


def compare(tmp_path, component, inputs: dict[str, int], output: str, cycles: int) -> None:
    """The port or port member `output` must be the same on both simulators, for random `inputs` (name → bits)."""
    rng = random.Random(0)
    stimulus = [{name: rng.getrandbits(bits) for name, bits in inputs.items()} for _ in range(cycles)]
    assert icarus(tmp_path, component, stimulus, inputs, output) == amaranth(component, stimulus, output)


def port(component, name: str) -> Value:
    """The port of Verilog name `name`; members of interfaces follow a double underscore."""
    interface, _, member = name.partition("__")
    value = getattr(component, interface)
    return Value.cast(getattr(value, member) if member else value)


def _weights(config) -> BankedMemory:
    """WEIGHT, whose words are read and written whole."""
    bits = config.word_bits(Memory.WEIGHT)
    return BankedMemory(config, Memory.WEIGHT, {Unit.MATRIX: bits}, {Unit.LOAD: bits})


def amaranth(component, stimulus: list[dict[str, int]], output: str) -> list[int]:
    seen = []

    async def run(ctx):
        for inputs in stimulus:
            for name, value in inputs.items():
                ctx.set(port(component, name), value)
            seen.append(ctx.get(port(component, output)))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(run)
    simulator.run()
    return seen


def icarus(tmp_path, component, stimulus: list[dict[str, int]], inputs: dict[str, int], output: str) -> list[int]:
    registers = "\n".join(f"  reg [{bits - 1}:0] {name} = 0;" for name, bits in inputs.items())
    ports = ", ".join(f".{name}({name})" for name in ["clk", *inputs, output])
    steps = "\n".join(
        "    " + " ".join(f"{name} = {inputs[name]}'h{value:x};" for name, value in each.items()) + " step;"
        for each in stimulus
    )
    bench = f"""
module bench;
  reg clk = 0;
{registers}
  wire [{len(port(component, output)) - 1}:0] {output};
  top dut({ports}, .rst(1'b0));
  task step; begin #1 $display("%h", {output}); clk = 1; #1 clk = 0; end endtask
  initial begin
{steps}
  end
endmodule
"""
    (tmp_path / "bench.v").write_text(to_verilog(component) + bench)
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "bench.v"], cwd=tmp_path, check=True)
    run = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    return [int(line, 16) for line in run.stdout.split()]


def test_array_is_the_same_in_verilog(tmp_path):
    inputs = {"activations": 24, "swap": 1, "weights": 40, "capture": 1}
    compare(tmp_path, Array(ODD), inputs, "sums", 200)


def test_memory_is_the_same_in_verilog(tmp_path):
    memory = BankedMemory(SHORT, Memory.PARAM, {Unit.VECTOR: 64}, {Unit.LOAD: 320})
    inputs = {"read_vector__en": 1, "read_vector__address": 4, "read_vector__part": 3,
              "write_load__en": 1, "write_load__address": 4, "write_load__mask": 10,
              "write_load__data": 320}  # fmt: skip
    compare(tmp_path, memory, inputs, "read_vector__data", 300)


def test_what_repeats_is_written_once():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = to_verilog(Array(PRESETS["base"]))
        memory = to_verilog(_weights(PRESETS["base"]))
    assert array.count("module heddle_pe_int8(") == array.count("module heddle_pe_row_int8_16(") == 1
    assert memory.count("module heddle_ram ") == 1
    assert len(array) < 400_000 and len(memory) < 40_000


def test_verilog_says_where_it_comes_from_if_asked():
    """In lines of this package: `total` stands where hw/float_add.py registers it, not where registers are made."""
    text = to_verilog(Pe("bf16"), name="top", sources=True)
    (file, line), *_ = re.findall(r'\(\* src = "(hw/\w+\.py):(\d+)" \*\)\s*reg \[\d+:0\] \\?total', text)
    assert "register(" in (ROOT / file).read_text().splitlines()[int(line) - 1] and file == "hw/float_add.py"
    sources = re.findall(r'\(\* src = "([^":]*)', text)
    assert all((ROOT / source).is_file() and not Path(source).is_absolute() for source in sources)
    assert "src =" not in to_verilog(Pe("bf16"), name="top")


def test_ports_of_no_bits_are_no_ports_of_an_instance():
    """Reads of whole words choose no part of them: `read_matrix.part` has no bits, and Verilog knows no such port."""
    memory = _weights(PRESETS["base"])

    class Outside(wiring.Component):
        def elaborate(self, platform):
            m = Module()
            m.submodules.memory = instance(memory, "memory_elsewhere")
            return m

    text = to_verilog(Outside({}))
    assert ".read_matrix__address(" in text and "read_matrix__part" not in text


def test_a_choice_of_a_thousand_parts_is_no_deep_expression():
    """Amaranth walks expressions by recursion: one level for each part would be too many."""
    server = PRESETS["server"]
    elements, word = server.element_bits(Memory.WEIGHT), server.word_bits(Memory.WEIGHT)
    memory = BankedMemory(server, Memory.WEIGHT, {Unit.KV: elements}, {Unit.LOAD: word})
    assert server.banks(Memory.WEIGHT) * word // elements == 1024
    assert to_verilog(memory).count("module heddle_ram ") == 1
