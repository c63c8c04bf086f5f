"""PyTorch models, one readable file each."""
