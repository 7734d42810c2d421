"""The models of the paper: blocks, networks, the zoo and what each costs."""

from .blocks import MODULE_ORDERS, DepthwiseModule, ModuleOrder
from .costs import Cost, paper_cost, real_cost
from .network import STRIDE, SegmentationNetwork, build_model
from .paper import PAPER_ROWS, PRINTED_BUT_INCONSISTENT, PaperRow
from .zoo import ModelSpec, get_spec, list_models, parse_model_name

__all__ = [
    "MODULE_ORDERS",
    "PAPER_ROWS",
    "PRINTED_BUT_INCONSISTENT",
    "STRIDE",
    "Cost",
    "DepthwiseModule",
    "ModelSpec",
    "ModuleOrder",
    "PaperRow",
    "SegmentationNetwork",
    "build_model",
    "get_spec",
    "list_models",
    "paper_cost",
    "parse_model_name",
    "real_cost",
]
