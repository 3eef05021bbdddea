"""`python -m dpdkrouter`: the same as the `dpdkrouter` command."""

from dpdkrouter.cli import main

main()
