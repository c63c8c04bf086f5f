"""On the RTL: a program in lock-step with the simulator, and a waveform of its product. Needs Icarus Verilog."""

import heddle
from own_program import product

X = {"x": [[1, 2, 3, 4], [0, 0, 0, 0], [-1, 1, -1, 1], [7, 0, 0, 0]]}


def main() -> None:
    program = product()
    comparison = heddle.lockstep(program, X, engine="icarus")
    print(comparison)
    assert comparison.agrees
    matmul = next(each for each in heddle.simulate(program, X).trace if each.unit == heddle.Unit.MATRIX)
    heddle.record(program, X, "icarus", "product.vcd", heddle.Window(matmul.start - 5, matmul.retire + 5))
    print(f"product.vcd: cycles {matmul.start - 5} to {matmul.retire + 5}; open it with gtkwave or surfer")


if __name__ == "__main__":
    main()
