"""A program of one's own: a product of two 4 × 4 matrices by hand, on the machine `nano`, and its DRAM for a bench."""

import heddle
import numpy as np
from heddle import Memory, Tensor, Unit, isa

LOAD, STORE, MATRIX, VECTOR = (1 << unit for unit in (Unit.LOAD, Unit.STORE, Unit.MATRIX, Unit.VECTOR))
WEIGHTS = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)  # (k, n)


def product() -> heddle.Program:
    """y = x @ WEIGHTS, x of int8 at 0x400, y of bf16 at 0x600."""
    instructions = (
        isa.Load(memory=Memory.ACT, dram_address=0x400, words=4),
        isa.Load(memory=Memory.WEIGHT, dram_address=0x500, words=4, signal=MATRIX),
        isa.Matmul(rows=4, act_stride=1, acc_stride=1, wait=LOAD, signal=VECTOR),
        isa.Map(rows=4, columns=4, source_stride=1, stride=1, wait=MATRIX, signal=STORE),
        isa.Store(memory=Memory.VALUE, dram_address=0x600, words=4, wait=VECTOR),
        isa.Halt(),
    )
    tensors = {
        "x": Tensor("x", "input", Memory.ACT, address=0x400, rows=4, columns=4, row_bytes=4, shape=(4, 4)),
        "y": Tensor("y", "output", Memory.VALUE, address=0x600, rows=4, columns=4, row_bytes=8, shape=(4, 4)),
    }
    config = heddle.get_config("nano")
    return heddle.Program(config, instructions, 4096, ((0x500, WEIGHTS.tobytes()),), tensors, name="product")


def main() -> None:
    program = product()
    program.check()
    heddle.require_ordered(program)  # its result cannot depend on timing
    x = np.array([[1, 2, 3, 4], [0, 0, 0, 0], [-1, 1, -1, 1], [7, 0, 0, 0]])
    result = heddle.simulate(program, {"x": x})
    print(program.listing())
    print(f"{result.cycles} cycles; y =\n{result.outputs['y'][0]}")
    assert (result.outputs["y"][0] == x @ WEIGHTS).all()

    image = program.image.copy()  # all of DRAM before the run, for a bench of one's own
    for address, content in program.input_bytes({"x": x}):
        image[address : address + len(content)] = np.frombuffer(content, np.uint8)
    words = image.view("<u4")
    print(f"dram.hex for $readmemh: {len(words)} words, the first {words[0]:08x}; write {program.groups} to GROUPS")


if __name__ == "__main__":
    main()
