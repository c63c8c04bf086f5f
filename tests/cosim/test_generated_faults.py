"""Generated faults: which places have them, that each is in the design when it is chosen, and only then; a sample."""

import json
import subprocess
import sys
from datetime import date

import pytest
from heddle.arch.errors import HeddleError
from heddle.cosim.fault_sites import rewrite
from heddle.cosim.generated_faults import FaultCampaign, FaultRow, generated_faults, known_survivors
from heddle.cosim.mutations import copy_package

SOURCE = '''
"""A block."""
WIDTH = 3 + 1


class Block(Component):
    def elaborate(self, platform) -> Module:
        m = Module()
        count = Signal(8)
        with m.If(self.go & ~self.stop):
            m.d.sync += count[:4].eq(count[1:5] + 1)
        m.d.comb += [self.done.eq(count.any()), self.late.eq(delay(m, Mux(self.go, 1, count), 2, "late"))]
        assert count != 3
        return m
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package with all faults of hw/queue.py built in, and the faults."""
    folder = tmp_path_factory.mktemp("faults")
    copy_package(folder / "heddle")
    return folder, rewrite(folder / "heddle")


def test_places_and_their_faults(tmp_path):
    (tmp_path / "hw").mkdir()
    (tmp_path / "hw" / "block.py").write_text(SOURCE)
    faults = rewrite(tmp_path)
    found = {}
    for fault in faults:
        assert fault.path == "hw/block.py" and fault.function == "Block.elaborate"
        found.setdefault(fault.text, []).append(fault.kind)
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    assert len({fault.key for fault in faults}) == len(faults)
    assert found == {
        "self.go & ~self.stop": ["|", "constant +1"],
        "~self.stop": ["left out"],
        "m.If(self.go & ~self.stop)": ["negated", "always", "never", "a cycle late"],
        "count[1:5]": ["a bit up", "a bit down"],
        "count[1:5] + 1": ["-", "constant +1", "constant -1"],
        "count[:4].eq(count[1:5] + 1)": ["dropped", "constant +1", "constant -1", "top bit cut"],
        "count.any()": ["any and all exchanged"],
        "self.done.eq(count.any())": ["dropped", "constant +1", "constant -1", "top bit cut"],
        "Mux(self.go, 1, count)": ["arms exchanged", "first arm +1", "second arm +1"],
        "delay(m, Mux(self.go, 1, count), 2, 'late')": ["a cycle less", "a cycle more"],
        "self.late.eq(delay(m, Mux(self.go, 1, count), 2, 'late'))": [
            "dropped", "constant +1", "constant -1", "top bit cut",
        ],
    }  # fmt: skip


def test_the_same_text_twice_has_two_names(tmp_path):
    (tmp_path / "hw").mkdir()
    (tmp_path / "hw" / "block.py").write_text("def f(a):\n    return a.any() & a.any()\n")
    keys = [fault.key for fault in rewrite(tmp_path)]
    assert keys[0] == "hw/block.py:f: a.any(): any and all exchanged" and keys[1] == keys[0] + " #2"


QUEUE = """
import json, random
from amaranth.sim import Simulator
from heddle.hw import switches
from heddle.hw.queue import Queue

def outputs(faults):
    dut, seen = Queue(4, 4), {}
    async def bench(ctx):
        for fault in faults:
            ctx.set(switches.SELECT, fault)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            numbers, level, seen[fault] = random.Random(0), 0, []
            for _ in range(80):
                clear, put = numbers.random() < 0.05, level < 4 and numbers.random() < 0.6
                take = level and numbers.random() < 0.5
                level = 0 if clear else level + put - bool(take)
                for port, value in ((dut.clear, clear), (dut.put, put), (dut.take, bool(take))):
                    ctx.set(port, value)
                ctx.set(dut.i, numbers.randrange(16))
                await ctx.tick()
                seen[fault].append((ctx.get(dut.level), ctx.get(dut.o) if level else None))
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen

present = %s
seen = outputs([0, *present])
live = [fault for fault in present if fault in switches.LIVE]
print(json.dumps([seen[0], live, [fault for fault in live if seen[fault] != seen[0]]]))
"""


def outputs_of_the_queue(folder, numbers):
    result = subprocess.run([sys.executable, "-c", QUEUE % numbers], cwd=folder, capture_output=True, text=True,
                            env={"PYTHONPATH": str(folder)}, check=True)  # fmt: skip
    return json.loads(result.stdout)


def test_a_signal_chooses_among_the_faults_of_a_queue(package):
    folder, faults = package
    of_queue = {fault.number: fault for fault in faults if fault.path == "hw/queue.py"}
    sound, live, seen = outputs_of_the_queue(folder, list(of_queue))
    levels = [level for level, _ in sound]
    assert max(levels) == 4 and 0 in levels  # it is a queue, while no fault is chosen
    assert len(live) > 25
    missed = {str(of_queue[number].key) for number in live} - {str(of_queue[number].key) for number in seen}
    assert missed <= set(), missed


def campaign(*outcomes):
    return FaultCampaign(100, [FaultRow(str(number), "hw/pe.py", 1, "-", outcome, by)
                               for number, (outcome, by) in enumerate(outcomes)])  # fmt: skip


def test_what_is_equivalent_is_no_fault():
    killed = ("killed", "nano")
    found = campaign(killed, killed, ("equivalent", "why"), ("survived", ""), ("survived", "why"))
    assert found.rate() == 0.5 and found.table() == [("hw/pe.py", 5, 2, 1, 2)]
    assert [row.fault for row in found.unknown()] == ["3"]
    assert found.to_dict()["fault_files"] == {"hw/pe.py": {"made": 5, "killed": 2, "equivalent": 1, "survived": 2}}


def test_what_survivors_are_listed_are_faults_with_a_reason(package):
    keys = {fault.key for fault in package[1]}
    for kind, reasons in known_survivors().items():
        assert kind in ("equivalent", "survive")
        assert all(reasons.values()) and not set(reasons) - keys, f"bring cosim/survivors.toml up to date: {kind}"


def test_a_file_that_holds_no_rows_is_refused(tmp_path):
    (tmp_path / "rows").write_text("no row\n")
    with pytest.raises(HeddleError, match="rows is not a file of generated faults: 'no row'"):
        generated_faults(1, file="hw/pe.py", rows=tmp_path / "rows")


@pytest.mark.long
def test_a_sample_of_the_day_is_killed(tmp_path):
    found = generated_faults(60, seed=date.today().toordinal(), rows=tmp_path / "rows.jsonl")
    assert len(found.rows) == 60
    assert found.rate() >= 0.9, [str(row) for row in found.unknown()]  # 95 % of all, and a sample is a sample
