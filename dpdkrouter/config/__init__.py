"""The configuration: one TOML file, checked in three passes, then frozen.

`load.load` and `load.parse` do the first two passes (schema, semantics) and raise ConfigErrors with every problem;
`runtime.check_runtime` is the third, about this machine. `paths.InstancePaths` says where an instance's files are;
it, `rules` and this module load no pydantic, for which the CLI would have to wait at each start.
"""
