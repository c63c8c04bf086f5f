"""From a PyTorch model to a Program: capture, fuse, quantise, tile, schedule, allocate, emit."""
