"""Which Heddle this is: its version, and the commit that it was made of."""

import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from importlib.metadata import version as version_of
from pathlib import Path

COMMIT_FILE = "commit.txt"  # beside this file in a wheel: setup.py writes it


def _version() -> str:
    try:
        return version_of("heddle")
    except PackageNotFoundError:  # a copy of the folder on the path
        return "unknown"


VERSION = _version()


def commit() -> str:
    """The commit of the sources, shortened, with a + where files were changed since; empty if that is not known."""
    here = Path(__file__).resolve().parent
    written = here / COMMIT_FILE
    if written.is_file():
        return written.read_text().strip()
    return commit_of(here) or _commit_of_install()


def commit_of(package: Path) -> str:
    """The same of a folder `heddle` at the root of a repository. Empty for any other folder, and without git."""
    if _git(package, "rev-parse", "--show-prefix") != f"{package.name}/":
        return ""
    changed = "+" if _git(package, "status", "--porcelain", "--untracked-files=no", "--", "..") else ""
    return _git(package, "rev-parse", "--short=10", "HEAD") + changed


def _git(folder: Path, *arguments: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _commit_of_install() -> str:
    """What pip noted of an installation straight from a repository."""
    try:
        noted = json.loads(distribution("heddle").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    return noted.get("vcs_info", {}).get("commit_id", "")[:10]
