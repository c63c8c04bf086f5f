"""cosim/axi_rules.py: each rule, broken once, is reported, and no other; and a port that keeps them all is let be."""

import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.cosim.axi_rules import AxiRules, Rule, names_of

NANO = PRESETS["nano"]
BASE, SIZE = 0x4000, 0x2000
WRITE = dict(awvalid=1, awaddr=BASE + 0x100, awlen=1, awsize=2, awburst=1, awid=2)
READ = dict(arvalid=1, araddr=BASE + 0xFF8, arlen=1, arsize=2, arburst=1, arid=1)
LEGAL = [  # what the port shows in each cycle
    WRITE,
    WRITE | dict(awready=1, wvalid=1, wdata=1, wstrb=3),
    dict(wvalid=1, wdata=1, wstrb=3, wready=1),
    dict(wvalid=1, wdata=2, wstrb=12, wlast=1, wready=1),
    READ,
    READ | dict(arready=1),
    dict(bvalid=1, bid=2),
    dict(rvalid=1, rid=1, rdata=5),
    dict(rvalid=1, rid=1, rdata=6, rlast=1),
]
OTHER = dict(arvalid=1, arsize=2, arburst=1, araddr=BASE)
PLANTED = [  # rule, cycle, what is other there
    (Rule.AW_DROPPED, 1, dict(awvalid=0, awready=0)),
    (Rule.W_DROPPED, 2, dict(wvalid=0, wready=0)),
    (Rule.AR_DROPPED, 5, dict(arvalid=0, arready=0)),
    (Rule.AW_CHANGED, 1, dict(awaddr=BASE + 0x104)),
    (Rule.AW_CHANGED, 1, dict(awid=0)),
    (Rule.W_CHANGED, 2, dict(wdata=9)),
    (Rule.W_CHANGED, 2, dict(wstrb=15)),
    (Rule.AR_CHANGED, 5, dict(araddr=BASE + 0xFF0)),
    (Rule.NOT_INCREMENTING, 5, dict(arburst=2)),
    (Rule.TOO_WIDE, 5, dict(arsize=3, araddr=BASE + 0xFE0)),
    (Rule.MISALIGNED, 5, dict(araddr=BASE + 0xFE2)),
    (Rule.ACROSS_4_KIB, 5, dict(araddr=BASE + 0xFFC)),
    (Rule.BEYOND_REGION, 5, dict(araddr=BASE - 8)),
    (Rule.BEYOND_REGION, 5, dict(araddr=BASE + SIZE)),
    (Rule.UNKNOWN_IDENTIFIER, 5, dict(arid=3)),
    (Rule.LAST_MISPLACED, 2, dict(wlast=1)),
    (Rule.LAST_MISPLACED, 3, dict(wlast=0)),
    (Rule.DATA_UNASKED, 4, dict(wvalid=1, wready=1, wstrb=15)),
    (Rule.NO_STROBE, 3, dict(wstrb=0)),
    (Rule.TWO_REQUESTS, 1, OTHER | dict(arready=1)),
    (Rule.RESPONSE_REFUSED, 7, dict(rready=0)),
    (Rule.READ_UNASKED, 4, dict(rvalid=1, rid=0, rlast=1)),
    (Rule.READ_UNASKED, 7, dict(rid=0)),
    (Rule.READ_LAST_MISPLACED, 7, dict(rlast=1)),
    (Rule.RESPONSE_UNASKED, 2, dict(bvalid=1, bid=2)),
    (Rule.RESPONSE_UNASKED, 6, dict(bid=0)),
]
# These need a master that lets the slave wait, which is a fault already.
WAITING = [
    (Rule.B_DROPPED, dict(bready=0, bvalid=1, bid=2), dict(bvalid=0)),
    (Rule.B_CHANGED, dict(bready=0, bvalid=1, bid=2), dict(bvalid=1, bid=2, bresp=2)),
    (Rule.R_DROPPED, dict(rready=0, rvalid=1, rid=1, rdata=5), dict(rvalid=0)),
    (Rule.R_CHANGED, dict(rready=0, rvalid=1, rid=1, rdata=5), dict(rvalid=1, rid=1, rdata=7)),
]


@pytest.fixture(scope="module")
def watch():
    """watch(cycles) → the names of the rules that were broken, and whether nothing is in flight at the end."""
    rules = AxiRules(NANO)
    script, found = [], []

    async def bench(ctx):
        ctx.set(rules.base, BASE)
        ctx.set(rules.size_bytes, SIZE)
        for cycle in script:
            for name in signals:
                ctx.set(getattr(rules.axi, name), cycle.get(name, int(name in ("rready", "bready"))))
            await ctx.tick()
        found.append((names_of(ctx.get(rules.broken)), bool(ctx.get(rules.quiet))))

    signals = list(rules.signature.members["axi"].signature.members)
    used = []
    simulator = Simulator(rules)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)

    def run(cycles):
        script[:] = cycles
        if used:
            simulator.reset()
        used.append(True)
        simulator.run()
        return found.pop()

    return run


def test_a_port_that_keeps_all_rules_is_let_be(watch):
    assert watch(LEGAL) == ([], True)
    assert watch(LEGAL * 3) == ([], True)


@pytest.mark.parametrize("cycles", range(1, len(LEGAL)))
def test_what_is_in_flight_is_known(watch, cycles):
    assert watch(LEGAL[:cycles]) == ([], False)


@pytest.mark.parametrize("rule,cycle,other", PLANTED, ids=str)
def test_a_broken_rule_is_reported(watch, rule, cycle, other):
    cycles = [dict(each) for each in LEGAL[: cycle + 1]]
    cycles[cycle] |= other
    if cycle in (2, 5) and not rule.name.endswith(("DROPPED", "CHANGED")):
        cycles[cycle - 1] |= other  # from the first cycle of the offer on
    assert watch(cycles)[0] == names_of(1 << rule)


@pytest.mark.parametrize("rule,before,after", WAITING, ids=str)
def test_a_slave_that_is_made_to_wait_must_keep_its_offer(watch, rule, before, after):
    assert rule.name.lower().replace("_", " ") in watch([*LEGAL[:6], before, after])[0]


def test_every_rule_is_tried():
    assert {rule for rule, *_ in (*PLANTED, *WAITING)} == set(Rule)
