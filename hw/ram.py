"""A RAM with one read and one write port: the cell that on-chip memories and test benches are made of.

In Verilog it is the module `heddle_ram`, written once for all sizes: the one place to put an SRAM macro.
"""

from amaranth import ClockSignal, Instance, Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .verilog import VerilogPlatform


class Ram(wiring.Component):
    """`depth` words of `width` bits that start as zeros.

    `read_data` is the word at `read_address` one cycle after `read_en`, and stays until the next read. Each bit of
    `write_mask` writes `granularity` bits; a write is seen by reads from the next cycle on. Of `block`, an FPGA takes
    block RAM for it, even if it is so small that tools take look-up tables.
    """

    def __init__(self, width: int, depth: int, granularity: int | None = None, block: bool = False):
        self._width = width
        self._depth = depth
        self._style = "block" if block else "auto"
        self._granularity = granularity or width
        address_bits = max(1, (depth - 1).bit_length())
        super().__init__({
            "read_en": In(1),
            "read_address": In(address_bits),
            "read_data": Out(width),
            "write_mask": In(width // self._granularity),
            "write_address": In(address_bits),
            "write_data": In(width),
        })  # fmt: skip

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform):
            return self._instance(platform)
        m = Module()
        m.submodules.words = words = Memory(shape=unsigned(self._width), depth=self._depth, init=[])
        write_port = words.write_port(granularity=self._granularity)
        read_port = words.read_port()
        m.d.comb += [
            read_port.en.eq(self.read_en),
            read_port.addr.eq(self.read_address),
            self.read_data.eq(read_port.data),
            write_port.en.eq(self.write_mask),
            write_port.addr.eq(self.write_address),
            write_port.data.eq(self.write_data),
        ]
        return m

    def _instance(self, platform: VerilogPlatform) -> Instance:
        platform.texts["heddle_ram"] = _VERILOG
        parameters = {"WIDTH": self._width, "DEPTH": self._depth, "MASK_BITS": self._width // self._granularity,
                      "ADDRESS_BITS": len(self.read_address), "STYLE": self._style}  # fmt: skip
        return Instance(
            "heddle_ram",
            *[("p", name, value) for name, value in parameters.items()],
            i_clk=ClockSignal(),
            i_read_en=self.read_en,
            i_read_address=self.read_address,
            o_read_data=self.read_data,
            i_write_mask=self.write_mask,
            i_write_address=self.write_address,
            i_write_data=self.write_data,
        )


_VERILOG = """\
// One read and one write port. Programs do not read a word in the cycle of its write, so no_rw_check lets synthesis
// leave out the logic that would keep the old word for such a read.
module heddle_ram #(
  parameter WIDTH = 8,
  parameter DEPTH = 2,
  parameter MASK_BITS = 1,
  parameter ADDRESS_BITS = 1,
  parameter STYLE = "auto"
) (
  input clk,
  input read_en,
  input [ADDRESS_BITS-1:0] read_address,
  output reg [WIDTH-1:0] read_data,
  input [MASK_BITS-1:0] write_mask,
  input [ADDRESS_BITS-1:0] write_address,
  input [WIDTH-1:0] write_data
);
  localparam PART = WIDTH / MASK_BITS;
  (* no_rw_check, ram_style = STYLE *) reg [WIDTH-1:0] words [0:DEPTH-1];
  integer word, part;
  initial begin
    read_data = {WIDTH{1'b0}};
    for (word = 0; word < DEPTH; word = word + 1) words[word] = {WIDTH{1'b0}};
  end
  always @(posedge clk) if (read_en) read_data <= words[read_address];
  always @(posedge clk)
    for (part = 0; part < MASK_BITS; part = part + 1)
      if (write_mask[part]) words[write_address][part*PART +: PART] <= write_data[part*PART +: PART];
`ifdef HEDDLE_CLEAR
  // A bench that runs several programs names the signal here that clears the memories between them.
  always @(posedge `HEDDLE_CLEAR)
    for (word = 0; word < DEPTH; word = word + 1) words[word] = {WIDTH{1'b0}};
`endif
endmodule
"""
