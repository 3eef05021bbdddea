"""Planted faults: does a named test catch each?

* faults.py    the faults: one line of one file, and the test that must fail
* scratch.py   a copy of the tree beside a copy of the installed packages, in which a fault is planted and built
"""
