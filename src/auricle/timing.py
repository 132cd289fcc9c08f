"""Wall time that waits for the accelerator."""

from time import perf_counter

import torch


def now() -> float:
    """Seconds on a clock that only rises, after everything that was queued on a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
    return perf_counter()
