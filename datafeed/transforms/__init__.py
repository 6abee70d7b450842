"""Ready transforms for ``datafeed stage --transform "datafeed.transforms:NAME(...)"``.

Each function here takes its settings and gives a transform: a function of a sample.
"""

from datafeed.transforms.images import decode, resize
from datafeed.transforms.tokens import byte_tokens, pack

__all__ = ["byte_tokens", "decode", "pack", "resize"]
