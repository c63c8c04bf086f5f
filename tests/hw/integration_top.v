// A system around the accelerator as an integrator writes it, with every port by its name: a DRAM of 64 KiB behind
// m_axi, and a host at s_axil that resets, writes the registers, starts a run and waits for the interrupt.
//
// Files: dram.hex (words of 32 bits), registers.hex (address and value of each write, 64 bits a line), and, after the
// run, dram_after.hex. +reset_at=N resets everything for one cycle, N cycles after a first start, before the run that
// counts. +idle_reset resets the accelerator alone between two runs.
`timescale 1ns/1ns

module integration_top;
  reg aclk = 0;
  reg aresetn = 0;
  reg dram_resetn = 0;
  always #2 aclk = ~aclk;

  wire [39:0] awaddr, araddr;
  wire [7:0] awlen, arlen;
  wire [2:0] awsize, arsize, awprot, arprot;
  wire [1:0] awburst, arburst, awid, arid;
  wire [3:0] awcache, arcache, awqos, arqos, wstrb;
  wire awlock, arlock, awvalid, arvalid, wvalid, wlast, bready, rready, interrupt;
  wire [31:0] wdata;
  wire host_awready, host_wready, host_bvalid, host_arready, host_rvalid;
  wire [1:0] host_bresp, host_rresp;
  wire [31:0] host_rdata;
  reg [11:0] host_awaddr = 0, host_araddr = 0;
  reg [31:0] host_wdata = 0;
  reg host_awvalid = 0, host_wvalid = 0, host_bready = 0, host_arvalid = 0, host_rready = 0;
  reg reading = 0, writing = 0, bvalid = 0;
  reg [15:0] read_address = 0, write_address = 0;
  reg [7:0] beats_left = 0;
  reg [1:0] rid = 0, bid = 0;
  reg [31:0] dram [0:16383];

  heddle accelerator (
    .aclk(aclk),
    .aresetn(aresetn),
    .interrupt(interrupt),
    .m_axi_awid(awid),
    .m_axi_awaddr(awaddr),
    .m_axi_awlen(awlen),
    .m_axi_awsize(awsize),
    .m_axi_awburst(awburst),
    .m_axi_awlock(awlock),
    .m_axi_awcache(awcache),
    .m_axi_awprot(awprot),
    .m_axi_awqos(awqos),
    .m_axi_awvalid(awvalid),
    .m_axi_awready(!writing),
    .m_axi_wdata(wdata),
    .m_axi_wstrb(wstrb),
    .m_axi_wlast(wlast),
    .m_axi_wvalid(wvalid),
    .m_axi_wready(writing && !bvalid),
    .m_axi_bid(bid),
    .m_axi_bresp(2'b00),
    .m_axi_bvalid(bvalid),
    .m_axi_bready(bready),
    .m_axi_arid(arid),
    .m_axi_araddr(araddr),
    .m_axi_arlen(arlen),
    .m_axi_arsize(arsize),
    .m_axi_arburst(arburst),
    .m_axi_arlock(arlock),
    .m_axi_arcache(arcache),
    .m_axi_arprot(arprot),
    .m_axi_arqos(arqos),
    .m_axi_arvalid(arvalid),
    .m_axi_arready(!reading),
    .m_axi_rid(rid),
    .m_axi_rdata(dram[read_address[15:2]]),
    .m_axi_rresp(2'b00),
    .m_axi_rlast(beats_left == 0),
    .m_axi_rvalid(reading),
    .m_axi_rready(rready),
    .s_axil_awaddr(host_awaddr),
    .s_axil_awprot(3'b000),
    .s_axil_awvalid(host_awvalid),
    .s_axil_awready(host_awready),
    .s_axil_wdata(host_wdata),
    .s_axil_wstrb(4'b1111),
    .s_axil_wvalid(host_wvalid),
    .s_axil_wready(host_wready),
    .s_axil_bresp(host_bresp),
    .s_axil_bvalid(host_bvalid),
    .s_axil_bready(host_bready),
    .s_axil_araddr(host_araddr),
    .s_axil_arprot(3'b000),
    .s_axil_arvalid(host_arvalid),
    .s_axil_arready(host_arready),
    .s_axil_rdata(host_rdata),
    .s_axil_rresp(host_rresp),
    .s_axil_rvalid(host_rvalid),
    .s_axil_rready(host_rready)
  );

  // The DRAM: one burst of each direction at a time.
  integer lane;
  always @(posedge aclk)
    if (!dram_resetn) begin
      reading <= 0;
      writing <= 0;
      bvalid <= 0;
    end else begin
      if (arvalid && !reading) begin
        reading <= 1;
        read_address <= araddr[15:0];
        beats_left <= arlen;
        rid <= arid;
      end else if (reading && rready) begin
        reading <= beats_left != 0;
        read_address <= read_address + 4;
        beats_left <= beats_left - 1;
      end
      if (awvalid && !writing) begin
        writing <= 1;
        write_address <= awaddr[15:0];
        bid <= awid;
      end
      if (wvalid && writing && !bvalid) begin
        for (lane = 0; lane < 4; lane = lane + 1)
          if (wstrb[lane]) dram[write_address[15:2]][8*lane +: 8] <= wdata[8*lane +: 8];
        write_address <= write_address + 4;
        bvalid <= wlast;
      end
      if (bvalid && bready) begin
        bvalid <= 0;
        writing <= 0;
      end
    end

  // What is the same in every burst, and that nothing is asked for in a cycle after one with aresetn low.
  reg was_reset = 0;
  always @(posedge aclk) begin
    was_reset <= !aresetn;
    if (was_reset && (awvalid || wvalid || arvalid || host_bvalid || host_rvalid)) fail("valid while in reset");
    if (awvalid && {awlock, awcache, awprot, awqos, awburst, awsize} != {1'b0, 4'b0011, 3'b000, 4'b0000, 2'b01, 3'd2})
      fail("side bands of AW");
    if (arvalid && {arlock, arcache, arprot, arqos, arburst, arsize} != {1'b0, 4'b0011, 3'b000, 4'b0000, 2'b01, 3'd2})
      fail("side bands of AR");
  end

  task fail(input [8*40-1:0] what);
    begin
      $display("FAIL: %0s at %0t", what, $time);
      $finish;
    end
  endtask

  // The host drives between rising edges.
  task host_write(input [11:0] address, input [31:0] value);
    begin
      host_awaddr = address;
      host_wdata = value;
      host_awvalid = 1;
      host_wvalid = 1;
      host_bready = 1;
      #1 while (!(host_awready && host_wready)) @(negedge aclk);
      @(negedge aclk);
      host_awvalid = 0;
      host_wvalid = 0;
      while (!host_bvalid) @(negedge aclk);
      if (host_bresp != 0) fail("bresp");
      @(negedge aclk);
      host_bready = 0;
    end
  endtask

  reg [31:0] answer;
  task host_read(input [11:0] address);
    begin
      host_araddr = address;
      host_arvalid = 1;
      host_rready = 1;
      #1 while (!host_arready) @(negedge aclk);
      @(negedge aclk);
      host_arvalid = 0;
      while (!host_rvalid) @(negedge aclk);
      if (host_rresp != 0) fail("rresp");
      answer = host_rdata;
      @(negedge aclk);
      host_rready = 0;
    end
  endtask

  reg [63:0] registers [0:63];
  integer number, reset_at;
  task start;
    begin
      $readmemh("dram.hex", dram);
      for (number = 0; registers[number][0] !== 1'bx; number = number + 1)
        host_write(registers[number][43:32], registers[number][31:0]);
      host_write(12'h008, 1);
      host_write(12'h000, 1);
    end
  endtask

  initial begin
    $readmemh("registers.hex", registers);
    repeat (3) @(negedge aclk);
    aresetn = 1;
    dram_resetn = 1;
    @(negedge aclk);
    if ($value$plusargs("reset_at=%d", reset_at)) begin
      start;
      repeat (reset_at) @(negedge aclk);
      aresetn = 0;
      dram_resetn = 0;
      @(negedge aclk);
      aresetn = 1;
      dram_resetn = 1;
      host_read(12'h004);
      if (answer != 0) fail("status after reset");
      host_read(12'h018);
      if (answer != 0) fail("GROUPS after reset");
    end
    if ($test$plusargs("idle_reset")) begin
      start;
      while (!interrupt) @(negedge aclk);
      host_read(12'h004);
      while (answer & 1) host_read(12'h004);
      aresetn = 0;
      @(negedge aclk);
      aresetn = 1;
    end
    start;
    while (!interrupt) @(negedge aclk);
    $writememh("dram_after.hex", dram);
    host_read(12'h020);
    number = answer;
    host_read(12'h004);
    $display("STATUS %0d CYCLES %0d", answer, number);
    $finish;
  end

  initial #2000000 fail("no interrupt");
endmodule
