"""The `erf_seg` command line: one file per subcommand in `commands`, no logic of its own."""
