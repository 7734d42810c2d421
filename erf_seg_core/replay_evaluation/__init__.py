"""Recorded drives scored offline: every frame, streamed, with several models side by side.

`evaluate_bags` in `evaluation` is the way in. One bag is one task (`bag_evaluation`), which leaves
its result on disk (`bag_result`); tasks run here, in other processes or on a cluster (`workers`,
`cluster`), and are then put together in the order of the bags, so the numbers are always the same.
"""
