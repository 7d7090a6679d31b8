"""Routing: encoder, learning-state features, utilities, router, policies."""
