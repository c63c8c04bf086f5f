"""The memories of the RTL bench: DRAM and the trace recorders, which a test fills and reads in bulk."""

from amaranth import ClockSignal, Instance, Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In, Out

from ..hw.verilog import VerilogPlatform


class Storage(wiring.Component):
    """`size_bytes` of memory in words of `word_bytes`: combinational read, byte-masked write, all zeros at the start.

    In Amaranth's simulator a test bench reaches the words by `words`. In Verilog this is an instance of the module
    `heddle_storage`, whose array `words` is filled by $readmemh and read by $writememh.
    """

    def __init__(self, word_bytes: int, size_bytes: int):
        self._word_bytes = word_bytes
        self._depth = size_bytes // word_bytes
        self.words = MemoryData(shape=unsigned(8 * word_bytes), depth=self._depth, init=[])
        address_bits = max(1, (self._depth - 1).bit_length())
        super().__init__({
            "read_address": In(address_bits),
            "read_data": Out(8 * word_bytes),
            "write_mask": In(word_bytes),
            "write_address": In(address_bits),
            "write_data": In(8 * word_bytes),
        })  # fmt: skip

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform):
            return self._instance(platform)
        m = Module()
        m.submodules.words = words = Memory(self.words)
        read_port = words.read_port(domain="comb")
        write_port = words.write_port(granularity=8)
        m.d.comb += [
            read_port.addr.eq(self.read_address),
            self.read_data.eq(read_port.data),
            write_port.addr.eq(self.write_address),
            write_port.data.eq(self.write_data),
            write_port.en.eq(self.write_mask),
        ]
        return m

    def _instance(self, platform: VerilogPlatform) -> Instance:
        platform.texts["heddle_storage"] = _VERILOG
        return Instance(
            "heddle_storage",
            p_BYTES=self._word_bytes,
            p_DEPTH=self._depth,
            p_ADDRESS_BITS=len(self.read_address),
            i_clk=ClockSignal(),
            i_read_address=self.read_address,
            o_read_data=self.read_data,
            i_write_mask=self.write_mask,
            i_write_address=self.write_address,
            i_write_data=self.write_data,
        )


_VERILOG = """\
// A memory of the bench, read without a clock.
module heddle_storage #(
  parameter BYTES = 4,
  parameter DEPTH = 2,
  parameter ADDRESS_BITS = 1
) (
  input clk,
  input [ADDRESS_BITS-1:0] read_address,
  output [8*BYTES-1:0] read_data,
  input [BYTES-1:0] write_mask,
  input [ADDRESS_BITS-1:0] write_address,
  input [8*BYTES-1:0] write_data
);
  reg [8*BYTES-1:0] words [0:DEPTH-1];
  integer word, part;
  initial for (word = 0; word < DEPTH; word = word + 1) words[word] = {8*BYTES{1'b0}};
  assign read_data = words[read_address];
  always @(posedge clk)
    for (part = 0; part < BYTES; part = part + 1)
      if (write_mask[part]) words[write_address][8*part +: 8] <= write_data[8*part +: 8];
endmodule
"""
