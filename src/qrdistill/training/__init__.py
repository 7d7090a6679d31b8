"""Joint training: the pool, one step, the loop, checkpoints."""
