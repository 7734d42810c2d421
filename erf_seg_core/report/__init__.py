"""Reports: what became of the frames, how long they took, how good the labels are.

Pure Python: `replay_report` turns the two bags of a live replay and the fates of its frames into
pictures and numbers, `contents` is what any report is made from, `html` writes it as one file that
needs no network.
"""
