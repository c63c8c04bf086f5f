"""Numbers of rows, positions and pages: what lies beyond its table is refused before anything runs."""


import heddle
import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.models import llama
from torch import nn

from ..machines import VALUES

SMALL_LLAMA = llama.LlamaConfig(vocabulary=23, context=24, width=8, depth=1, heads=2, kv_heads=1, hidden=8)


class Tables(nn.Module):
    """Two tables of unequal length, chosen from by the same numbers or by others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.kinds = nn.Embedding(10, 4), nn.Embedding(7, 4), nn.Embedding(2, 4)

    def forward(self, ids: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        return self.words(ids) + self.places(ids) + self.kinds(kinds)  # (1, T, 4)


@pytest.fixture(scope="module")
def compiled():
    model = Tables().eval()
    examples = torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64)
    return model, heddle.compile(model, examples, VALUES)


def test_an_input_knows_the_smallest_of_the_tables_it_chooses_from(compiled, tmp_path):
    _, program = compiled
    assert {each.name: each.limit for each in program.inputs()} == {"ids": 7, "kinds": 2}
    program.save(tmp_path / "tables.heddle")
    again = heddle.Program.load(tmp_path / "tables.heddle")
    assert again.tensors == program.tensors


def test_all_that_there_is_can_be_chosen(compiled):
    model, program = compiled
    ids, kinds = np.array([[0, 6, 3]]), np.array([[1, 0, 1]])
    result = heddle.simulate(program, {"ids": ids[0], "kinds": kinds[0]})
    golden = model(torch.from_numpy(ids), torch.from_numpy(kinds)).detach().numpy()
    np.testing.assert_allclose(result.outputs["output"].reshape(golden.shape), golden, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrong", [7, 9, 10, -1, 1 << 40])
def test_an_id_beyond_its_table_is_refused_with_its_place(compiled, wrong):
    _, program = compiled
    inputs = {"ids": np.array([0, 1, wrong]), "kinds": np.array([0, 1, 0])}
    told = rf"input 'ids' must hold whole numbers from 0 to 6, .* 7 rows .*, not {wrong} at \[2\]"
    for run in (
        lambda: heddle.simulate(program, inputs),
        lambda: heddle.simulate(program, inputs, values=False),
        lambda: heddle.simulate(program, inputs, timing=False),
        lambda: heddle.lockstep(program, inputs, "amaranth"),
    ):
        with pytest.raises(HeddleError, match=told):
            run()
    good = {**inputs, "ids": np.array([0, 1, 2])}
    batch = {name: np.stack([good[name], inputs[name]]) for name in inputs}
    with pytest.raises(HeddleError, match=f"set 1 of the inputs: {told}"):
        heddle.simulate(program, batch)


def test_nothing_runs_before_all_inputs_are_known_to_be_good(compiled, monkeypatch):
    _, program = compiled
    monkeypatch.setattr("heddle.cosim.lockstep.simulate", lambda *_: pytest.fail("it ran"))
    good = {"ids": np.array([0, 1, 2]), "kinds": np.array([0, 1, 0])}
    with pytest.raises(HeddleError, match=r"'kinds' must hold whole numbers from 0 to 1"):
        heddle.lockstep(program, [good, {**good, "kinds": np.array([0, 2, 0])}], "amaranth")


@pytest.fixture(scope="module")
def session():
    torch.manual_seed(0)
    model = llama.Llama(SMALL_LLAMA).eval()
    return heddle.Session(model, VALUES, heddle.CachePlan(12, 4), sequences=2, chunk=4, context=24)


def test_a_decoder_knows_its_vocabulary_its_positions_and_its_pages(session):
    # The cache has 12 tokens of each sequence, on pages of 4; the model's own tables are longer.
    assert {each.name: each.limit for each in session.decode.inputs()} == {"ids": 23, "positions": 12, "pages": 6}
    inputs = {"ids": [1, 2], "positions": [0, 0], "pages": np.arange(6).reshape(2, 3)}
    heddle.simulate(session.decode, {name: np.array(each) for name, each in inputs.items()})
    for name, wrong, told in (("ids", [1, 23], "23 rows"), ("positions", [12, 0], "12 rows"),
                              ("pages", [[0, 1, 2], [3, 6, 5]], "6 pages")):  # fmt: skip
        with pytest.raises(HeddleError, match=f"input '{name}' must .* {told}"):
            heddle.simulate(session.decode, {k: np.array(each) for k, each in {**inputs, name: wrong}.items()})


def test_a_session_refuses_what_its_programs_do_and_goes_on(session):
    session.restart()
    with pytest.raises(HeddleError, match=r"input 'ids' must hold whole numbers from 0 to 22, .*, not 23 at \[1\]"):
        session.step([0, 23])
    assert session.lengths == [0, 0]
    assert session.step([0, 22]).tokens == 1
    with pytest.raises(HeddleError, match="one token of each of 2 sequences, not 3"):
        session.step([1, 2, 3])
    with pytest.raises(HeddleError, match="sequence must be from 0 to 1, not 2"):
        session.feed([1, 2, 3, 4], sequence=2)


@pytest.mark.parametrize("positions", [(-1, 0), (12, 0), (0,), (0, 0, 0), (1.0, 0), ("1", 0), (True, 0)])
def test_positions_that_there_are_not_are_refused(session, positions):
    with pytest.raises(HeddleError, match=r"sequence 0 must be a whole number from 0 to 11|give a position"):
        session.decode.at(*positions)


def test_positions_may_be_those_of_numpy(session):
    moved = session.decode.at(np.int64(11), np.int32(0))
    assert moved.positions == (11, 0) and moved.scalar_values == session.decode.at(11, 0).scalar_values


@pytest.mark.parametrize("array", [np.array(["a", "b", "c"]), np.array([None, 1, 2]), np.array([1j, 0, 0])])
def test_an_array_of_another_kind_is_refused(compiled, array):
    _, program = compiled
    with pytest.raises(HeddleError, match="'ids' must hold whole numbers"):
        heddle.simulate(program, {"ids": array, "kinds": np.zeros(3, np.int64)})
