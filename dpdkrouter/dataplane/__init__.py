"""The fast path process: `dpdkrouter fastpath`. With `dpdkrouter.segment` the only code that imports `fastpath`."""
