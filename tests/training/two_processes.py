"""What each process of `test_two_processes_train_together` does: trains and writes what it read."""

import json
import os
import sys
from pathlib import Path

from test_loop import Points, plane, run

from auricle.training import stages


def main() -> None:
    output, made = Path(sys.argv[1]), []

    def make(shard: Path, path: Path) -> None:
        made.append(int(shard.name))
        path.write_text("made")

    stages.begin(output / "note.json", {"seed": 0})
    shards = stages._of_every_shard([Path(str(number)) for number in range(5)], output, make)
    there = sum(path.is_file() for path in shards)
    train, model = Points(32), plane()
    run(model, train, output / "run")
    weights = [value.tolist() for value in model.state_dict().values()]
    said = {"asked": train.asked, "weights": weights, "made": made, "there": there}
    (output / f"{os.environ['RANK']}.json").write_text(json.dumps(said))


main()
