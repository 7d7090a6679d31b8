"""qrdistill."""
