"""The figures that the SpeechPrune paper prints, for comparison (sections 1.6 to 1.9)."""

from collections.abc import Mapping
from dataclasses import dataclass

RATES = (0.2, 0.4, 0.6, 0.8)
NAMES: Mapping[str, str] = {
    "first30": "Original",
    "random-pieces": "RAP",
    "random-crop": "RAC",
    "speechprune": "SpeechPrune",
    "full": "all windows",
}


@dataclass(frozen=True)
class Cost:
    """A row's cost in Table 1: Qwen2-Audio, Quadro RTX6000.

    Attributes:
        tflops: of the prefill.
        prefill_ms: time to the first token.
        memory_gb: total.
        activations_gb: stored activations.
    """

    tflops: float
    prefill_ms: float
    memory_gb: float
    activations_gb: float


# By pruning rate; 0 is Original.
TABLE1_COST: Mapping[float, Cost] = {
    0.0: Cost(12.2, 779.0, 13.40, 0.19),
    0.2: Cost(10.06, 662.0, 13.32, 0.15),
    0.4: Cost(7.93, 511.0, 13.24, 0.11),
    0.6: Cost(5.79, 419.0, 13.17, 0.07),
    0.8: Cost(3.66, 278.0, 13.09, 0.04),
}

# Method and rate -> accuracy on SPIRAL and SPIRAL-H, in percent.
TABLE1_ACCURACY: Mapping[tuple[str, float], tuple[float, float]] = {
    ("first30", 0.0): (60.38, 0.0),
    ("random-pieces", 0.2): (42.49, 21.45),
    ("random-crop", 0.2): (65.71, 48.13),
    ("speechprune", 0.2): (89.23, 81.64),
    ("random-pieces", 0.4): (42.89, 22.19),
    ("random-crop", 0.4): (62.45, 41.90),
    ("speechprune", 0.4): (85.97, 76.43),
    ("random-pieces", 0.6): (42.39, 21.45),
    ("random-crop", 0.6): (58.20, 35.41),
    ("speechprune", 0.6): (75.89, 63.77),
    ("random-pieces", 0.8): (45.26, 23.19),
    ("random-crop", 0.8): (55.83, 33.67),
    ("speechprune", 0.8): (62.45, 46.15),
}

TABLE2_RATE: Mapping[str, float] = {"Qwen2-Audio": 0.2, "DiVA": 0.15}
# Model -> benchmark -> accuracy of Original and of SpeechPrune at these rates, in percent.
TABLE2: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "Qwen2-Audio": {
        "spiral": (60.38, 89.23),
        "dream-tts": (53.69, 65.19),
        "cn-college-listen": (52.91, 62.86),
    },
    "DiVA": {
        "spiral": (48.62, 57.51),
        "dream-tts": (45.72, 53.10),
        "cn-college-listen": (55.24, 56.19),
    },
}

# Rate -> accuracy on SPIRAL-H of phase 1 alone, phase 2 alone and both, as far as the text says, in percent.
FIGURE3: Mapping[float, tuple[float, float, float]] = {0.2: (48.13, 72.45, 81.64)}
FIGURE3_ALL_TOKENS = 43.6  # the dotted line; read by a third party from the paper's source
