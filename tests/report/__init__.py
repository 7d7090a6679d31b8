"""Tests of the report room, and what they share: a synthetic run, hostile payloads, a browser."""
