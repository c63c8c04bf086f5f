"""The transposer: turns square tiles of codes, such as words of K as they come from DRAM, into stationary words.

One array of registers for all: a tile moves in word by word along one axis and out along the other, and the next tile
moves in behind it along that other axis.

      tile 0 in, by rows      tile 0 out and tile 1 in, by columns      tile 1 out and tile 2 in, by rows
      ▲ ▲ ▲ ▲                 ◄ ◄ ◄ ◄                                   ▲ ▲ ▲ ▲
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Transposer(wiring.Component):
    """Takes a word `i` of `size` codes of `bits` bits with `i_valid`, whenever it comes; so many of them are a tile.

    As word n of a tile goes in, word n of the tile before, transposed, is at `o` with `o_valid`: element t of it is
    element n of word t. With `i_last`, at the last word of a tile, that tile leaves by itself in the `size` cycles
    after, `o_last` in the last of them; nothing may come in then. `clear` forgets all.
    """

    def __init__(self, size: int, bits: int):
        self._size, self._bits = size, bits
        width = size * bits
        super().__init__({
            "clear": In(1),
            "i_valid": In(1),
            "i_last": In(1),
            "i": In(width),
            "o_valid": Out(1),
            "o_last": Out(1),
            "o": Out(width),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        size, bits = self._size, self._bits
        rows = [Signal(size * bits, name=f"row_{row}") for row in range(size)]
        count = Signal(range(size))  # of the word in its tile
        by_columns = Signal()  # how words move: from the last row to row 0, or from the last column to column 0
        holds, leaves = Signal(), Signal()  # a whole tile is in, or what is left of it; it goes by itself
        moves, ends = Signal(), Signal()
        m.d.comb += [
            moves.eq(self.i_valid | leaves),
            ends.eq(moves & (count == size - 1)),
            self.o_valid.eq(moves & holds),
            self.o_last.eq(leaves & ends),
        ]
        with m.If(by_columns):
            m.d.comb += self.o.eq(Cat(row[:bits] for row in rows))
        with m.Else():
            m.d.comb += self.o.eq(rows[0])
        with m.If(moves & by_columns):
            m.d.sync += [row.eq(Cat(row[bits:], self.i.word_select(at, bits))) for at, row in enumerate(rows)]
        with m.Elif(moves):
            m.d.sync += [row.eq(behind) for row, behind in zip(rows, [*rows[1:], self.i], strict=True)]
        with m.If(moves):
            m.d.sync += count.eq(count + 1)
        with m.If(ends):
            m.d.sync += [
                count.eq(0),
                by_columns.eq(~by_columns),
                holds.eq(self.i_valid),
                leaves.eq(self.i_valid & self.i_last),
            ]
        with m.If(self.clear):
            m.d.sync += [count.eq(0), by_columns.eq(0), holds.eq(0), leaves.eq(0)]
        return m
