"""Virtual environments of the benchmarks: each is made on its first use, and anew when its requirements change."""

import os
import subprocess
import sys
from pathlib import Path


def enter(folder, requirements):
    """Goes on with the same program and arguments inside `folder`, with the packages that the file `requirements` pins."""
    if Path(sys.prefix) == folder:
        return
    python, wanted, installed = folder / "bin" / "python", requirements.read_text(), folder / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        print(f"installing {', '.join(wanted.split())} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements], check=True)
        installed.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])
