"""The control process's API: JSON, a line each, over a Unix stream socket (protocol.py has the grammar)."""
