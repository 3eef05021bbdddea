"""BGP by ExaBGP: its configuration, its launcher, the helper it runs, and what the control process reads
and writes.

    ExaBGP --JSON lines--> helper.py ==bgp.sock==> feed.py --events--> session.py (summary) and the RIB
    ExaBGP <--commands---- helper.py <==bgp.sock== commands.py

`dpdkrouter bgp` runs launcher.py, which writes configuration.py's text and supervises ExaBGP; ExaBGP starts
helper.py. feed.py, commands.py, session.py and configuration.py are sans-I/O: values in, values out, time
as an argument. Routes and sessions follow RFC 4271, 4760, 4724, 7606, 7911.
"""
