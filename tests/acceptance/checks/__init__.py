"""The checks, one module a subject; each has CHECKS, the names it announces, and check_*, which runs them."""
