"""Gives torchvision the two operator schemas that it lacks beside a torch build it was not compiled for.

A CUDA build of torchvision cannot load its C extension beside a CPU build of torch; its Python code then
fails while it attaches shape functions to `torchvision::nms` and `torchvision::qnms`, which the extension
would have defined. Schemas without kernels let the import finish: resizing and models work, calling either
operator raises.

`deploy/torchvision_shim.py` copies this file into site-packages with a `.pth` line that imports it at every
start of Python: it costs nothing until torchvision is imported, and does nothing when the extension has
loaded. Schemas: torchvision 0.28, `torchvision/csrc/ops/nms.cpp` and `ops/quantized/cpu/qnms_kernel.cpp`.
"""

import sys

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
defined = None  # the torch.library.Library, alive as long as the process: its end would withdraw the schemas


class BeforeRegistrations:
    """Acts when torchvision, having tried its extension, imports the modules that need the schemas."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("torchvision._autograd_registrations", "torchvision._meta_registrations"):
            define_missing()
        return None  # the module itself is found by Python's own finders


def define_missing():
    global defined
    import torch

    missing = [schema for op, schema in SCHEMAS.items() if not hasattr(torch.ops.torchvision, op)]
    if missing and defined is None:
        defined = torch.library.Library("torchvision", "FRAGMENT")
        for schema in missing:
            defined.define(schema)


sys.meta_path.insert(0, BeforeRegistrations)
