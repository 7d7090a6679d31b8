"""Comparing a stated answer with the gold one: exact quantities first, then mathematical structure, then expressions."""
