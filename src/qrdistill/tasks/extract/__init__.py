"""Reading the final answer out of a response: one module per kind of answer, over one notion of a statement."""
