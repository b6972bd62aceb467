"""Bugs that are planted on purpose: the simulation must find each of them.

    python3 tests/simulation/planted.py [--seeds 10000] [--only NAME …]

Each `planted/*.patch` is put into a copy of the workspace, the simulation is built there and run until a seed finds it.
What was built of other people's crates is taken from `target/release` by hard links, so that only our own are built anew.
Our own are built apart: cargo tells sources by their path within the workspace and their time, and would take a planted
bug's crate for the real one. Ends with 1 if a bug is not found, if the
simulation fails without one, or if a patch does not apply any more: it is then to be made anew.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "simulation" / "planted"
BUILD = ["cargo", "test", "--release", "--workspace", "--test", "simulation", "--no-run", "--message-format=json"]
TEST = "nothing_that_was_acknowledged_is_lost_or_doubled"
SEED_SECONDS_MAX = 0.5


class Defect(Exception):
    """What is wrong with a planted bug, or with the simulation."""


def copy_of_workspace(folder):
    for name in ["Cargo.toml", "Cargo.lock", "clippy.toml", "rustfmt.toml"]:
        shutil.copy2(ROOT / name, folder / name)
    for name in ["crates", "fuzz"]:
        shutil.copytree(ROOT / name, folder / name, copy_function=shutil.copy2)


def is_ours(name):
    return "asof" in name or name.startswith(("simulation-", "libsimulation-"))


def target_of_others(target):
    """A target folder that has other people's crates and none of ours."""
    built, copy = ROOT / "target" / "release", target / "release"
    if not built.is_dir():
        return

    def ours(_folder, names):
        return [name for name in names if is_ours(name)]

    for name in ["build", ".fingerprint"]:
        shutil.copytree(built / name, copy / name, ignore=ours, copy_function=shutil.copy2)
    (copy / "deps").mkdir(parents=True)
    for file in (built / "deps").iterdir():
        if file.is_file() and not is_ours(file.name):
            os.link(file, copy / "deps" / file.name)


def put(patch, folder, *, is_back):
    direction = ["--reverse"] if is_back else ["--forward"]
    command = ["patch", "--strip=1", "--batch", "--fuzz=0", "--no-backup-if-mismatch", *direction, f"--input={patch}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise Defect(f"the patch does not apply any more:\n{done.stdout}{done.stderr}")


def built(folder):
    """The simulation, built as the sources in `folder` are."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
    done = subprocess.run(BUILD, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        errors = [message["message"]["rendered"] for message in messages if message["reason"] == "compiler-message"]
        raise Defect("it does not build:\n" + "".join(errors) + done.stderr)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "simulation":
            return message["executable"]
    raise Defect("cargo built no simulation")


def first_seed(executable, seeds):
    """The first seed that finds something, and what; `None` if none does."""
    environment = {**os.environ, "ASOF_SIMULATION_SEEDS": str(seeds), "RUST_BACKTRACE": "0"}
    environment.pop("ASOF_SIMULATION_SEED", None)
    command = [executable, "--exact", TEST]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60 + seeds * SEED_SECONDS_MAX)
    if done.returncode == 0:
        return None
    found = re.search(r"^seed (\d+): (.*)$", done.stdout, re.MULTILINE)
    if not found:
        raise Defect(f"the simulation ended without naming a seed:\n{done.stdout}{done.stderr}")
    return int(found[1]), found[2]


def look_for(patch, folder, seeds):
    """One line on what became of a planted bug."""
    put(patch, folder, is_back=False)
    try:
        found = first_seed(built(folder), seeds)
    finally:
        put(patch, folder, is_back=True)
    if found is None:
        raise Defect(f"not found in {seeds} seeds")
    seed, violation = found
    return f"seed {seed}: {violation[:160]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    patches = [patch for patch in sorted(PATCHES.glob("*.patch")) if not options.only or patch.stem in options.only]
    unknown = set(options.only) - {patch.stem for patch in patches}
    if unknown or not patches:
        sys.exit(f"no such planted bug: {sorted(unknown)}")
    defects = 0
    (ROOT / "target").mkdir(exist_ok=True)
    # Beside what is linked: hard links do not leave their file system.
    with tempfile.TemporaryDirectory(prefix="planted-", dir=ROOT / "target") as folder:
        folder = pathlib.Path(folder)
        copy_of_workspace(folder)
        target_of_others(folder / "target")
        for patch in patches:
            try:
                print(f"{patch.stem}: {look_for(patch, folder, options.seeds)}", flush=True)
            except (Defect, subprocess.TimeoutExpired) as defect:
                defects += 1
                print(f"{patch.stem}: {defect}", flush=True)
    sys.exit(1 if defects else 0)


if __name__ == "__main__":
    main()
