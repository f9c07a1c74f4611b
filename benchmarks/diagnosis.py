"""Does the diagnosis find what is wrong, does its remedy cure it, and is it silent on healthy models?

    python benchmarks/diagnosis.py remedy --out results
    python benchmarks/diagnosis.py healthy runs/digits-* runs/vamp-* --out results

- remedy: models that are made to collapse are trained, diagnosed, trained anew by the command that the diagnosis
  proposes, and diagnosed again, all by the command line. The second diagnosis must find nothing.
- healthy: diagnoses the runs that are named and counts alarms by check.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tightbound.cli.main import main as tightbound
from tightbound.cli.remedy import remedied

SICK = {
    "autoregressive decoder": "digits --likelihood \"pixelcnn(family='discretized-logistic')\" --epochs 15",
    "beta = 50": "digits --beta 50 --epochs 60",
}


def diagnosed(run: Path) -> dict[str, Any]:
    """Return the output of `tightbound diagnose --json`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        tightbound(["diagnose", str(run), "--json"])
    return json.loads(out.getvalue())


def remedy(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for name, words in SICK.items():
        run = arguments.out / name.replace(" ", "-").replace("=", "is")
        again = run.with_name(f"{run.name}-remedied")
        for old in (run, again):
            shutil.rmtree(old, ignore_errors=True)
        command = ["train", *shlex.split(words), "--evaluate-samples", "0"]
        row: dict[str, Any] = {"case": name, "command": shlex.join(["tightbound", *command])}
        tightbound([*command, "--run", str(run)])
        row["before"] = diagnosed(run)
        # the run has recorded this script as its command
        anew = ["train", *remedied(command[1:], row["before"]["remedy"], again)]
        row["anew"] = shlex.join(["tightbound", *anew])
        tightbound(anew)
        row["after"] = diagnosed(again)
        rows.append(row)
    for row in rows:
        print(f"{row['case']}: {row['command']}")
        for when in ("before", "after"):
            found = row[when]
            numbers = found["evidence"]["posterior-collapse"]
            rate, elbo = numbers["rate"], found["evidence"]["overfitting"]["test_elbo"]
            print(f"  {when}: {found['verdict']}")
            print(
                f"    rate {rate['value']:.2f} ± {rate['stderr']:.2f}, ELBO {elbo['value']:.2f} ± {elbo['stderr']:.2f}"
            )
            if when == "before":
                print(f"  anew: {row['anew']}")
    return {"remedy": rows}


def healthy(arguments: argparse.Namespace) -> dict[str, Any]:
    alarms: Counter[str] = Counter()
    made: Counter[str] = Counter()
    found = {str(run): diagnosed(run) for run in arguments.runs}
    for run, result in found.items():
        made.update(result["checked"])
        alarms.update(finding["name"] for finding in result["findings"])
        print(f"{run}: {result['verdict']}")
    print(f"{'check':20} made  alarms")
    for name in made:
        print(f"{name:20} {made[name]:4} {alarms[name]:7}")
    return {"alarms": alarms, "made": made, "runs": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("what", choices=("remedy", "healthy"))
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("diagnosis"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = remedy(arguments) if arguments.what == "remedy" else healthy(arguments)
    (arguments.out / f"{arguments.what}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
