"""Arithmetic of benchmarks/harness, and turns of its contestants."""

import json
import subprocess
import sys

import pytest

ECHO = """
import sys; sys.path.insert(0, {folder!r})
from harness import worker
def prepare(options):
    print("noise that is no answer")
    open({log!r}, "a").write(options["name"] + " starts\\n")
    def turn(request):
        if options["name"] == request.get("fails"):
            raise ValueError("out of luck")
        open({log!r}, "a").write(f"{{options['name']}} {{request['repeat']}}\\n")
        return worker.timed(lambda: {{"twice": 2 * request["repeat"]}})
    return turn
worker.serve(prepare)
"""


@pytest.fixture
def race(tmp_path, benchmarks):
    from harness.race import Contestant, Race

    script, log = tmp_path / "echo.py", tmp_path / "log"
    script.write_text(ECHO.format(folder=str(benchmarks), log=str(log)))
    return Race([Contestant(n, str(script), {"name": n}) for n in "ab"], threads=1), log


def test_ratio_is_pair_by_pair():
    from harness.report import ratio, summary

    # a machine that slows fourfold after the first repeat: the ratio of the medians would be 4
    ours, theirs = [1.0, 4.0, 4.0], [1.0, 1.0, 4.0]
    assert ratio(ours, theirs) == 1.0
    found = summary({"ours": ours, "theirs": theirs}, "theirs")
    assert found["ours"]["ratio"] == 1.0
    assert found["ours"]["median"] / found["theirs"]["median"] == 4.0
    assert found["ours"]["min"] == 1.0
    assert found["theirs"]["ratio"] == 1.0
    with pytest.raises(ValueError, match="longer"):
        ratio([1.0], [1.0, 2.0])


def test_contestants_take_turns_in_alternating_order(race):
    race, log = race
    with race:
        turns = race.run(repeats=3, warm=1)
        assert race.facts["a"]["packages"]["numpy"]
    lines = log.read_text().splitlines()
    assert sorted(lines[:2]) == ["a starts", "b starts"]  # side by side
    assert lines[2:] == ["b -1", "a -1", "a 0", "b 0", "b 1", "a 1", "a 2", "b 2"]
    assert [answer["twice"] for answer in turns["a"]] == [0, 2, 4]
    assert all(answer["seconds"] > 0 for answer in turns["b"])


def test_a_contestant_that_fails_is_named_and_all_are_stopped(race):
    race, _ = race
    with race:
        workers = [worker._process for worker in race._workers.values()]
        with pytest.raises(SystemExit, match=r"(?s)^b stopped:.*out of luck"):
            race.run(repeats=1, fails="b")
    assert all(process.poll() is not None for process in workers)


def test_a_report_holds_the_machine(tmp_path, capsys):
    from harness import report

    arguments = report.options("Title.\n\nMore.", repeats=3).parse_args(["--json", str(tmp_path / "r.json")])
    report.write(arguments, {"rows": [1]})
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["rows"] == [1]
    assert found["options"]["repeats"] == 3
    assert found["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["cores"] >= 1


def test_what_was_asked_for_is_checked_before_anything_is_measured(tmp_path, capsys):
    from harness import race, report

    parser = report.options("Title.", repeats=3)
    parser.add_argument("--only", nargs="+")
    for wrong, said in (
        (["--repeats", "0"], "0 was given; needed: a whole number of at least 1"),
        (["--threads", "two"], "two was given"),
        (["--json", str(tmp_path / "no" / "r.json")], "no folder"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(wrong)
        assert said in capsys.readouterr().err
    there = [race.Contestant(name, "none.py") for name in ("ours", "by hand")]
    assert [c.name for c in race.asked_for(there, "ours", parser.parse_args(["--only", "by hand"]))] == [
        "ours", "by hand",
    ]  # fmt: skip
    with pytest.raises(SystemExit, match=r"'byhand': there is no such contestant; give some of: 'ours', 'by hand'"):
        race.asked_for(there, "ours", parser.parse_args(["--only", "byhand"]))


def test_the_load_is_that_of_before_the_contestants(monkeypatch):
    from harness import machine

    before = machine.machine_facts()["load_average"]
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 99.0, 99.0))
    assert machine.machine_facts()["load_average"] == before


def test_an_environment_of_peers_that_was_left_half_made_is_made(tmp_path, monkeypatch):
    import peers

    def create(folder, with_pip):
        (folder / "bin").mkdir()
        (folder / "bin" / "python").touch()

    monkeypatch.setattr("venv.create", create)
    monkeypatch.setattr("sys.argv", ["peers.py"])
    monkeypatch.setattr("subprocess.run", lambda command: subprocess.CompletedProcess(command, 0))
    with pytest.raises(SystemExit) as done:
        peers.main(tmp_path)  # which is there, and empty
    assert done.value.code == 0
