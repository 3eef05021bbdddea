"""Ingress ACLs and policers as values: what a rule may say, rules files, and what the fast path is given. Pure but for
reading rules files; used by the configuration's loader, by the fast path process and by the CLI."""
