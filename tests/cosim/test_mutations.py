"""The mutation check: that lock-step notices planted faults. One of each kind by default, all among the long tests."""

import pytest
from heddle.arch.errors import HeddleError
from heddle.cosim.faults import FAULTS, RTL, SIMULATOR
from heddle.cosim.mutations import Fault, check_fault, copy_package, plant


def test_there_are_enough_faults_of_both_kinds():
    assert len(RTL) >= 12 and len(SIMULATOR) >= 8 and len(FAULTS) >= 20
    assert all(fault.in_rtl for fault in RTL) and not any(fault.in_rtl for fault in SIMULATOR)


def test_every_fault_has_its_place_in_the_sources(tmp_path):
    copy_package(tmp_path / "heddle")
    for fault in FAULTS:
        path = tmp_path / "heddle" / fault.path
        text = path.read_text()
        plant(fault, tmp_path / "heddle")
        assert path.read_text() != text
        path.write_text(text)


def test_a_fault_without_a_place_is_refused(tmp_path):
    copy_package(tmp_path / "heddle")
    with pytest.raises(HeddleError, match="bring cosim/faults.py up to date"):
        plant(Fault("nothing", "hw/pe.py", "no such text", ""), tmp_path / "heddle")


def test_what_is_sound_is_not_caught():
    verdict = check_fault(Fault("nothing", "sim/machine.py", "VOID_CYCLES = 1", "VOID_CYCLES = 1"), programs=4)
    assert not verdict.caught


def test_a_fault_in_the_simulator_is_caught():
    verdict = check_fault(SIMULATOR[0], programs=4)
    assert verdict.caught and ("of LOAD" in verdict.report or "of KV" in verdict.report)  # both gather


def test_a_fault_in_the_rtl_is_caught():
    verdict = check_fault(RTL[0], programs=4)
    assert verdict.caught and "DRAM address" in verdict.report


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.path}: {fault.what}")
def test_every_fault_is_caught(fault):
    assert check_fault(fault).caught
