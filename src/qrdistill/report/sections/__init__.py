"""The parts of the report; each reads a run and gives blocks."""
