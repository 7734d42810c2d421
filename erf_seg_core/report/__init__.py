"""Reports of replays: what became of the frames, how long they took, how good the labels are.

Pure Python: `replay_report` turns two bags and the fates of the frames into pictures and numbers,
`html` writes them as one file that needs no network.
"""
