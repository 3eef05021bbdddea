"""BGP by ExaBGP: its configuration, its launcher, the helper it runs, and what the control process reads
and writes.

    ExaBGP with tap.py --frames--> helper.py ==bgp.sock==> tapfeed.py, update.pyx --> session.py, the RIB
    ExaBGP alone --JSON lines----> helper.py ==bgp.sock==> feed.py ----------------->
    ExaBGP <------commands-------- helper.py <==bgp.sock== commands.py

`dpdkrouter bgp` runs launcher.py, which writes configuration.py's text and supervises ExaBGP, with the tap when
tapcheck.py knows this ExaBGP; ExaBGP starts helper.py. update.pyx (with pathattrs.pxd, packing.pxd,
columns.pyx, faults.pxd, decoded.py) decodes UPDATEs. tapfeed.py, feed.py, commands.py, session.py and
configuration.py are sans-I/O: values in, values out, time
as an argument. Routes and sessions follow RFC 4271, 4760, 4724, 7606, 7911.
"""
