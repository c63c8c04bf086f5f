"""The machines that tests use, by name: formats, shapes and sizes that no preset has.

The presets compute vectors in tf32, so these compute in float32 where their name does not say otherwise: between them
tests see both. A test that holds on any machine takes a preset, whose build others share; a name is no part of a build.
"""

from dataclasses import replace

from heddle.arch.config import PRESETS
from heddle.cosim.random_configs import BANKED

TF32 = PRESETS["nano"]
NANO = replace(TF32, name="nano-float32", vector_format="float32")
BF16 = replace(NANO, name="nano-bf16", pe="bf16")
BF16_TF32 = replace(BF16, name="nano-bf16-tf32", vector_format="tf32")
BF16_PORT_8 = replace(BF16, name="nano-bf16-port-8", axi_bytes=8)
VALUES = replace(NANO, name="nano-float32-values", value_format="float32")  # exact but for codes and tables
VALUES_TF32 = replace(VALUES, name="nano-tf32-values", vector_format="tf32")
SMALL = replace(PRESETS["small"], name="small-float32", vector_format="float32")
SMALL_BF16 = replace(PRESETS["small"], name="small-bf16", pe="bf16")  # in tf32
SMALL_VALUES = replace(SMALL, name="small-float32-values", value_format="float32")
BASE_BF16 = replace(PRESETS["base"], name="base-bf16", pe="bf16")  # in tf32

# Arrays of other shapes. The odd one shares no factor with anything; with room, it is one for models.
ODD = replace(NANO, name="3x5", rows=3, columns=5, vector_lanes=1)
ROOMY = replace(ODD, name="3x5-room", act_words=4096, weight_words=8192, value_words=4096, acc_words=4096)
ODD_BF16 = replace(ODD, name="3x5-bf16", pe="bf16")
ODD_VALUES = replace(ODD, name="3x5-values", value_format="float32")
ARRAY_5X3 = replace(ODD, name="5x3", rows=5, columns=3)
ARRAY_5X12 = replace(ODD, name="5x12", rows=5, columns=12)
ARRAY_12X4 = replace(NANO, name="12x4", rows=12)
ARRAY_2X2_BF16 = replace(BF16, name="2x2", rows=2, columns=2)
ARRAY_2X8_BF16 = replace(BF16, name="2x8", rows=2, columns=8)
ARRAY_24X40 = replace(NANO, name="24x40", rows=24, columns=40, vector_lanes=8, axi_bytes=8, weight_words=8192)
ARRAY_36X36 = replace(PRESETS["edge"], name="36x36", rows=36, columns=36, vector_lanes=4, axi_bytes=64,
                      burst_beats=8)  # fmt: skip

# Few and many of what there may be several of.
ONE_LANE = replace(NANO, name="one-lane", vector_lanes=1)
ONE_BANK = replace(NANO, name="one-bank", **{f"{memory.name.lower()}_banks": 1 for memory in BANKED})
MANY_BANKS = replace(NANO, name="64-banks", **{f"{memory.name.lower()}_banks": 64 for memory in BANKED})
ONE_BURST = replace(NANO, name="one-burst", queue_depth=2, load_outstanding=1, burst_beats=2)
MANY_BURSTS = replace(NANO, name="64-bursts", queue_depth=2, load_outstanding=64)
