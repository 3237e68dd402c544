"""The two-stream network and its modules, in PyTorch."""
