"""Where routes come from: connected.py, static.py (configuration and CLI), bgp.py. Each feeds origins of the RIB."""
