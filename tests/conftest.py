"""Settings of hypothesis, and what the suite left out, said at its end: no test is skipped, but without the files some
can only check what npkd says of that."""

import importlib.util
import os
import shutil
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:                  # workers share the cores already: before NumPy reads it
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from npkd.core.validation import InputError
from npkd.data.idx import find

settings.register_profile("npkd", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("npkd")
"""New examples in every run, on a CI machine too; what fails is printed, and kept with @example when it is mended."""


NEEDS = {"interop/test_torch.py": ("torch", "onnx"), "interop/test_onnx.py": ("onnx", "onnxruntime", "torch"),
         "interop/test_sklearn.py": ("sklearn",), "estimators/test_estimators.py": ("sklearn",),
         "estimators/test_sklearn_checks.py": ("sklearn",), "data/test_csv.py": ("pandas",),
         "experiments/test_dask.py": ("distributed",), "data/test_cluster.py": ("distributed",)}
"""Files of tests below this folder that need libraries of the extras; without those they are left out, not skipped."""

LEFT_OUT = sorted({module for modules in NEEDS.values() for module in modules if not importlib.util.find_spec(module)})
"""The libraries that are missing."""

collect_ignore = [file for file, modules in NEEDS.items() if {*modules} & {*LEFT_OUT}]
if shutil.which("cc") is None or shutil.which("size") is None:
    LEFT_OUT.append("a C compiler")
    collect_ignore.append("interop/test_c.py")


@pytest.fixture(autouse=True, scope="session")
def _no_clock_and_no_disk():
    """Progress in a pipe prints a line when a second has gone by; tests of what is printed do not go by the clock.
    Files that tests write need not outlive the machine; tests/core/test_files.py sees that npkd asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("npkd.core.progress.SOON", 1e6)
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_data(request):
    """What passes on a machine with MNIST must pass on one without: tests do not see NPKD_DATA, but for those of the
    data sets themselves, which say what they left out."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name != "test_datasets.py":
            patch.delenv("NPKD_DATA", raising=False)
        yield


def pytest_terminal_summary(terminalreporter):
    missing = []
    try:
        find("mnist", mirrors=())
    except InputError:
        missing.append("MNIST")
    if not (Path(os.environ.get("NPKD_DATA") or "no folder") / "optdigits" / "optdigits.tra").is_file():
        missing.append("the original optdigits files")
    if missing:
        what = " and ".join(missing)
        terminalreporter.write_line(f"left out: tests on {what}, not at hand (NPKD_DATA names a folder with mnist/ and "
                                    f"optdigits/); "
                                    "what npkd says in that case was tested instead")
    if LEFT_OUT:
        terminalreporter.write_line(f"left out: tests with other libraries, {', '.join(LEFT_OUT)} not installed "
                                    "(pip install -e '.[interop,dask]')")
