"""What `scripts/bench fib` runs.

routes.py        a table as columns, and the generator of one in the shape of today's Internet table
files.py         tables from files (one prefix a line, or MRT); the files that the peer reads
destinations.py  what is looked up: random hosts inside routes, Zipf, uniform
model.py         longest prefix by sorting and bisection: what every answer is compared with
peer.py          dpdk-test-fib on the same routes and addresses
segment.py       the table in a route segment; timed lookups, loading
updates.py       changes while a second process (watcher.py) checks every answer
fib.py           `bench fib`: all of it, interleaved, and what is printed
"""
