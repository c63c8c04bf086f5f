"""What lint says of a program: races in words, and slips of tokens and of DRAM places."""

from dataclasses import replace

from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Function, Halt, Load, Map, Norm, Source, Store, Tables
from heddle.arch.program import Program, Tensor
from heddle.sim import lint as lints
from heddle.sim.lint import lint

TO = {unit: 1 << unit for unit in Unit}


def program(*instructions, **options):
    return Program(PRESETS["nano"], (*instructions, Halt()), 1 << 16, **options)


def only(*instructions, **options):
    (finding,) = lint(program(*instructions, **options))
    return finding


def test_a_race_names_both_instructions_the_words_and_the_token():
    labels = "load x", "norm x", "end"
    race = only(Load(memory=Memory.VALUE, words=4), Norm(columns=8, address=1024), labels=labels)
    assert (race.kind, race.indices, race.memory, race.first, race.last) == ("race", (0, 1), "value", 0, 1)
    assert race.token == "load to norm"
    assert race.message == (
        "instruction 0 (load memory=value words=4; load x) and instruction 1 (norm rows=1 columns=8 address=1024; "
        "norm x) touch words 0 to 1 of VALUE, and no token orders them: let 0 signal NORM and 1 wait for LOAD"
    )


def test_bytes_of_dram_are_named():
    race = only(Store(dram_address=4096, words=2), Load(address=100, dram_address=4096))
    assert (race.memory, race.first, race.last) == ("dram", 4096, 4099)
    assert "touch bytes 4096 to 4099 of DRAM" in race.message


def test_ports_are_a_kind_of_their_own():
    vector = Map(columns=8, source=Source.VALUE, address=1024)
    port = only(vector, Norm(columns=8, source_address=100, address=1536))
    assert port.kind == "port" and "may both read bank 0 of VALUE at one time" in port.message


def test_tokens_that_nothing_takes():
    token = only(Load(signal=TO[Unit.MATRIX]), Load(signal=TO[Unit.MATRIX]))
    assert (token.kind, token.indices, token.token) == ("token", (1,), "load to matrix")
    assert token.message.startswith("2 of the tokens that LOAD sends MATRIX are never taken; the last is sent by "
                                    "instruction 1 (load memory=act signal:matrix)")  # fmt: skip


def test_more_tokens_than_a_semaphore_counts(monkeypatch):
    monkeypatch.setattr(lints, "SEMAPHORE_LIMIT", 6)
    sends = [Load(signal=TO[Unit.STORE])] * 3
    takes = [Store(address=100, dram_address=4096, wait=TO[Unit.LOAD])] * 3
    semaphore = only(*sends, *takes)
    assert semaphore.kind == "semaphore" and "up to 7 tokens of LOAD for STORE" in semaphore.message
    assert lint(program(*sends[:2], *takes[:2])) == []


def test_stores_over_what_the_host_wrote():
    constant = only(Store(dram_address=4096), data=((4099, b"x"),))
    assert (constant.kind, constant.first, constant.last) == ("overwrite", 4099, 4099)
    tensor = Tensor("x", "input", Memory.ACT, 4096, 4, 4, 4, (4, 4))
    assert only(Store(dram_address=4096 + 12), tensors={"x": tensor}).first == 4096 + 12


def test_a_scatter_may_write_anything_from_its_table_on():
    late, early = Tensor("y", "output", Memory.ACT, 8192, 4, 4, 4, (4, 4)), Load(dram_address=4096, address=9)
    scatter = Store(dram_address=8192, scatter=1, memory=Memory.ACT)
    assert lint(program(early, scatter, data=((9000, b"x"),), tensors={"y": late})) == []
    race = only(scatter, Load(dram_address=12288, address=9, words=4))
    assert (race.kind, race.memory, race.first, race.last) == ("race", "dram", 12288, 12303)


def test_outputs_that_are_not_stored_whole():
    tensor = Tensor("y", "output", Memory.ACT, 4096, 4, 4, 4, (4, 4))
    stores = (Store(memory=Memory.ACT, dram_address=4096 + start, words=words) for start, words in ((0, 2), (12, 1)))
    output = only(*stores, tensors={"y": tensor})
    assert (output.kind, output.first, output.last) == ("output", 4096 + 8, 4096 + 11)
    whole = Store(memory=Memory.ACT, dram_address=4096, segments=4, dram_stride=4)
    assert lint(program(whole, tensors={"y": tensor})) == []


def test_what_check_refuses_is_the_only_finding():
    check = only(Load(), Norm(wait=TO[Unit.VECTOR]))
    assert check.kind == "check" and "no earlier instruction of VECTOR signals NORM" in check.message


def test_kinds_are_in_order():
    store = Store(address=100, dram_address=4096)
    found = lint(program(Load(memory=Memory.VALUE, signal=TO[Unit.MATRIX]), Norm(), store, data=((4096, b"x"),)))
    assert [each.kind for each in found] == sorted((each.kind for each in found), key=lints.KINDS.index)
    assert {each.kind for each in found} == {"race", "port", "token", "overwrite"}
    assert found[0].to_dict()["indices"] == (0, 1)


def test_functions_that_nothing_has_set():
    halves = Tables(entries=64, place=2 * 128), Tables(entries=64, place=2 * 128 + 64)
    header, use = Tables(place=1024 + 2), Map(columns=4, source=Source.VALUE, function=Function.TABLE_2)
    function = only(halves[0], header, use, use)
    assert (function.kind, function.indices) == ("function", (2,)) and "all places of table 2" in function.message
    assert only(*halves, use, header).kind == only(Tables(entries=512), header, replace(use, function=1)).kind
    assert lint(program(*halves, header, use, replace(use, function=Function.RELU))) == []
