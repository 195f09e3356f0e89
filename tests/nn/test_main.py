"""``python -m numtorch``: other programs' ``import torch``, and ``--info``."""

import os
import subprocess
import sys

import numtorch

PROGRAM = """\
import sys
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.autograd import Function
from torch.nn import Module
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from beside import VALUE
import numtorch

assert torch is numtorch
assert sys.modules["torch.nn.functional"] is numtorch.nn.functional is F
assert issubclass(nn.Linear, Module)
assert torch.__spec__.name == "numtorch"
print(__name__, sys.argv[1:], VALUE, torch.ones(2).sum())
"""


def run(*arguments, **options):
    """What ``python -m numtorch`` gave, printed and complained."""
    command = [sys.executable, "-m", "numtorch", *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def test_script(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    status, printed, complaint = run(script, "a", "--info", "-c")
    assert complaint == ""
    assert printed == "__main__ ['a', '--info', '-c'] 7 tensor(2.)\n"
    assert status == 0


def test_exit_status_and_unknown_submodule(tmp_path):
    script = tmp_path / "program.py"
    script.write_text("import torch.distributed\n")
    status, _, complaint = run(script)
    assert status == 1
    assert "ModuleNotFoundError: No module named 'torch.distributed'" in complaint
    script.write_text("import sys, torch\nsys.exit(5)\n")
    assert run(script)[0] == 5


def test_code_and_module(tmp_path):
    assert run("-c", "import torch, sys; print(torch.ones(1).item(), sys.argv)", "x") == (
        0,
        "1.0 ['-c', 'x']\n",
        "",
    )
    (tmp_path / "tool.py").write_text("import sys, torch\nprint(torch.__name__, sys.argv[1:])\n")
    assert run("-m", "tool", "y", cwd=tmp_path) == (0, "numtorch ['y']\n", "")


def test_info():
    status, printed, _ = run("--info")
    facts = dict(line.split("  ", 1) for line in printed.splitlines())
    assert status == 0
    assert facts["numtorch"].strip() == numtorch.__version__
    assert {"Python", "NumPy", "Numba", "processor"} <= {name.strip() for name in facts}
    assert printed.count("\n") == 10


def test_bad_command_line():
    status, printed, complaint = run("missing.py")
    assert (status, printed) == (2, "")
    assert "missing.py" in complaint
    status, _, complaint = run("--unknown")
    assert status == 2
    assert "--unknown" in complaint
    assert run()[1].startswith("usage: python -m numtorch script.py")
