"""What takes a second process: interruption, and a directory that is in use."""

import os
import re
import signal
import subprocess
import sys

import pytest

from mutransfer.transfer.runs.record import Record

RUN = "import sys; from mutransfer.cli import main; sys.argv[0] = 'mutransfer'; main()"


@pytest.fixture
def running(finished, tmp_path):
    """`mutransfer run` of a study of a thousand runs in a process of its own, three runs in."""
    folder = tmp_path / "a run"  # a space, for the line that resumes
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "tune", finished.config, "--out", folder, "--plain", "-o", "seeds=200"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A shell's background jobs ignore interrupts, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("3/"):
            break
    yield process, folder
    process.kill()
    process.communicate()


def test_a_running_study_refuses_a_second_and_an_interruption_keeps_every_run(running, mutransfer):
    process, folder = running
    for fresh in ([], ["--fresh"]):
        second = mutransfer("run", folder, *fresh)
        assert second.code == 2
        assert f"{folder} is in use by another process; wait for it or use --out" in second.err
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    kept = re.search(r"interrupted: (\d+) finished runs are kept in ", err)
    assert kept is not None, err
    assert err.endswith(f"Go on with: mutransfer run '{folder}'\n")
    printed = 3 + sum(re.match(r"\d+/", line) is not None for line in out.splitlines())
    recorded = len(Record(folder / "runs.db"))
    assert int(kept[1]) == recorded
    assert recorded - printed in (0, 1)  # a run may be recorded and not yet told
    resumed = mutransfer("run", folder, "--dry-run")
    assert f"({recorded} in the record)" in resumed.out
