"""Damaged input for everything that reads files, by the thousand: `python -m tests.fuzz`.

A kind (`kinds/`) makes cases from a seed and gives them to the package. What is accepted is read
once more by plain means, and both readings must agree. `python -m tests.fuzz.kills` ends processes
at random moments.
"""
