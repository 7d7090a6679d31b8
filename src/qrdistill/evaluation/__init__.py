"""Evaluation: decoding, scores with intervals, the team."""
