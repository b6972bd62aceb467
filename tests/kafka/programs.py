"""Apache Kafka and a schema registry from Maven Central: what pom.xml pins, fetched once.

    python3 tests/kafka/programs.py              fetches them, if they are not there, and says where they are
    python3 tests/kafka/programs.py --lacking    says what must be installed first, a line each

They go below $ASOF_KAFKA (default ~/.cache/asof-kafka), into a folder named by the pom's hash, so that another pom fetches
anew. The folder appears when it is complete. Where Maven looks is up to the machine's own Maven settings. Who needs more jars
has a pom beside this one's and gives it by name.
"""

import hashlib
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

JAVA_MIN = 17
FETCH_S_MAX = 1_800
PROGRESS_S = 5
SHOWN_LINES = 30  # of Maven, when it fails
POM = Path(__file__).with_name("pom.xml")
JAVA_HELP = (
    "Debian and Ubuntu `apt install openjdk-17-jre-headless` (or `default-jre-headless`), "
    "Fedora `dnf install java-21-openjdk-headless`, macOS `brew install openjdk@21`"
)
MAVEN_HELP = "Debian and Ubuntu `apt install maven`, Fedora `dnf install maven`, macOS `brew install maven`"


def main():
    if sys.argv[1:] == ["--lacking"]:
        print("".join(f"{line}\n" for line in lacking()), end="")
        return
    require()
    folder = fetched()
    print(f"{folder}: Kafka {size_mb(folder / 'kafka')} MB, registry {size_mb(folder / 'registry')} MB")


def require(*more_poms):
    """Ends the program where something is missing, with what to install."""
    missing = lacking(*more_poms)
    if missing:
        print("what runs with Kafka cannot start; install first:", *missing, sep="\n  ", file=sys.stderr)
        sys.exit(2)


def lacking(*more_poms):
    missing = []
    version = java_version()
    if version is None:
        where = f" (JAVA_HOME is {os.environ['JAVA_HOME']}, where none runs)" if os.environ.get("JAVA_HOME") else ""
        missing.append(f"java: Java {JAVA_MIN} or later{where}: {JAVA_HELP}")
    elif version < JAVA_MIN:
        missing.append(f"java is Java {version}: {JAVA_MIN} or later is needed (JAVA_HOME names another): {JAVA_HELP}")
    if not all(folder_of_pom(pom).is_dir() for pom in (POM, *more_poms)) and not shutil.which("mvn"):
        missing.append(f"mvn: Apache Maven, which fetches what runs: {MAVEN_HELP}")
    return missing


def java():
    """The one of JAVA_HOME, else the one on the path."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"


def java_says():
    """What it is, in three lines; None where there is none that runs."""
    try:
        asked = subprocess.run([java(), "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout


def java_version():
    """The feature release as a number."""
    found = re.search(r'version "(\d+)', java_says() or "")
    return int(found[1]) if found else None


def folder_of_pom(pom=POM):
    cache = os.environ.get("ASOF_KAFKA") or Path.home() / ".cache" / "asof-kafka"
    return Path(cache).resolve() / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]


def fetched(pom=POM, what="Apache Kafka and Apicurio Registry, some 190 MB the first time"):
    """The folder that the pom fills, now if it is not there: of the brokers' one `kafka/*.jar` and `registry/`."""
    folder = folder_of_pom(pom)
    if not folder.is_dir():
        began = time.monotonic()
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        try:
            fetch(partial, pom, what)
            if not folder.is_dir():  # another test may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        print(f"fetched into {folder} in {time.monotonic() - began:.0f} s", flush=True)
    return folder


def fetch(folder, pom, what):
    """Runs Maven, and tells every few seconds how far it is."""
    print(f"fetching with Maven: {what}", flush=True)
    folder.mkdir(parents=True)
    command = ["mvn", "-B", "-f", str(pom), f"-Dasof.folder={folder}", "process-resources"]
    maven = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        said = follow(maven.stdout)
        code = maven.wait()
    finally:
        maven.kill()
    if code != 0:
        sys.exit(f"Maven could not fetch {what}:\n" + "".join(said[-SHOWN_LINES:]))


def follow(output):
    """All lines of it; tells how many files were downloaded while it waits for more."""
    lines, said, files = queue.Queue(), [], 0
    threading.Thread(target=pass_on, args=(output, lines), daemon=True).start()
    began = shown = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=1)
            if line is None:
                return said
            said.append(line)
            files += "Downloaded " in line
        except queue.Empty:
            pass
        if (now := time.monotonic()) > shown + PROGRESS_S:
            print(f"  {files} files, {now - began:.0f} s", flush=True)
            shown = now
        if now > began + FETCH_S_MAX:
            sys.exit(f"Maven has not fetched what it should within {FETCH_S_MAX} s:\n" + "".join(said[-SHOWN_LINES:]))


def pass_on(output, lines):
    for line in output:
        lines.put(line)
    lines.put(None)


def size_mb(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 1_000_000


if __name__ == "__main__":
    main()
