"""Numbers of whole paths through the package, kept in files, so that no change of them goes unseen.

A unit's test knows what the unit must do; these know what all of them together did before: whether
a setting still arrives where it acts, and two arguments of one type in their own places. A change
that is meant is written down by

    python -m tests.snapshots [NAME ...]

and then read in the difference of `values/NAME.json`.
"""
