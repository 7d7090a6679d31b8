"""Studies: variants of one recipe over several seeds, compared."""
