"""One module per subcommand: `HELP`, `add_arguments(parser)` and `run(args) -> exit status`.

`erf_seg_cli.main` finds the modules by listing this folder; `make_bag.py` is `erf_seg make-bag`.
A module imports nothing heavy (torch, OpenCV, rclpy) outside `run`, so that `--help` is quick.
"""
