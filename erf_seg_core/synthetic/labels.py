"""Ids of the CamVid-11 class set, in the order of its YAML file; the renderer draws with these."""

from __future__ import annotations

from ..class_sets import VOID_ID

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
VOID = VOID_ID  # the ego bonnet and litter bins: no class of the set names them
