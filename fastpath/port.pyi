"""Cython only: see port.pxd."""
