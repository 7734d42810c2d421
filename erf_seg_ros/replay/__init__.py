"""Replay of recorded drives over DDS: player, recorder, and the live run that joins them.

Player, recorder and node are separate processes, as on a robot; `live_run` starts them, watches
their event lines (`events`) and ends them in the order that loses nothing.
"""
