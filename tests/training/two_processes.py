"""What each process of `test_two_processes_train_together` does: trains and writes what it read."""

import json
import os
import sys
from pathlib import Path

from test_loop import Points, plane, run


def main() -> None:
    output = Path(sys.argv[1])
    train, model = Points(32), plane()
    run(model, train, output / "run")
    said = {"asked": train.asked, "weights": [value.tolist() for value in model.state_dict().values()]}
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps(said))


main()
