"""What each stage computes: pure functions on tensors, one module per node."""
