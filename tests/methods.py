"""One table of all pruners: registered name -> sets of options, each held to the contract by `test_contract.py`."""

from typing import Any

METHODS: dict[str, list[dict[str, Any]]] = {
    "full": [{}],
    "first30": [{}],
    "speechprune": [
        {},
        {"frame_pool": "mean"},
        {"positions": "original", "query": "question+choices"},
        {"phase": "similarity"},
        {"phase": "attention"},
    ],
    "searchlight": [
        {},
        {"silence": "keep", "window": 4.0},
        {"positions": "original", "choices": False, "threshold": -1.0},
    ],
    "fastv": [{}, {"layer": 1}],
    "dart": [{}, {"layer": 1}],
    "fastadasp": [{}],
    "a-tome": [{}],
    "visionzip": [{}],
    "segmentwise": [{}],
    "sa-map": [{}, {"threshold": 0.3}],
    "fastlongspeech": [{}],
    "random-pieces": [{}, {"seed": 7}],
    "random-crop": [{}, {"seed": 7}],
    "uniform": [{}],
}

ROWS = [(name, options) for name, rows in METHODS.items() for options in rows]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in ROWS]
