"""What a process says of itself is true."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from salcompress.errors import SettingError
from salcompress.process import cpu_name, peak_mib, process_mib


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_peak_memory_grows_by_what_is_taken():
    """Of a process of its own; the tests' own may have had more before."""
    code = """
from salcompress.process import peak_mib
before = peak_mib()
taken = bytearray(b"x") * (64 << 20)
print(peak_mib() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) == pytest.approx(64, abs=4)  # MiB; the interpreter takes some, too


def test_both_sources_of_the_peak_agree(monkeypatch):
    """Where /proc is missing the module resource counts: in KiB, but on macOS in bytes."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr("salcompress.process.process_mib", lambda entry: None)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "linux")
    in_kib = peak_mib()
    monkeypatch.setattr(sys, "platform", "darwin")
    in_bytes = peak_mib()
    assert in_kib == pytest.approx(largest / 2**10, rel=0.05)  # the peak may rise between the two
    assert in_bytes == pytest.approx(largest / 2**20, rel=0.05)


def test_without_any_source_the_peak_is_no_number(monkeypatch):
    monkeypatch.setattr("salcompress.process.process_mib", lambda entry: None)
    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(SettingError, match="peak memory cannot be measured on .*use Linux"):
        peak_mib()


def test_what_does_not_exist_has_no_memory():
    assert process_mib("VmNothing") is None
    assert process_mib("VmHWM", "no-such-process") is None


def test_a_worker_ends_when_its_parent_is_killed():
    code = """
import multiprocessing, os, time
from salcompress.process import end_with_parent
def work(sender):
    end_with_parent()
    sender.send(os.getpid())
    time.sleep(15)
    print("survived", flush=True)
if __name__ == "__main__":
    receiver, sender = multiprocessing.Pipe()
    multiprocessing.get_context("fork").Process(target=work, args=(sender,)).start()
    print(receiver.recv(), flush=True)
    os.kill(os.getpid(), 9)
"""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs a system with fork")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    # The call returns when nobody holds its stdout any more, and the worker holds it, too.
    assert run.stdout.split() != [] and "survived" not in run.stdout


def test_the_processor_has_a_name():
    assert cpu_name()
