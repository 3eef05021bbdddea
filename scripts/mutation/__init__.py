"""Planted faults: does a named test catch each?

* faults.py    the faults: one line of one file, and the test that must fail
* quick.py     a pytest plugin: Hypothesis does not look for the smallest counterexample
* scratch.py   a copy of the tree beside a copy of the installed packages, in which a fault is planted and built
"""
