"""Where routes come from: connected.py, static.py (configuration and CLI), bgp.py. Each feeds one or more origins of the RIB."""
