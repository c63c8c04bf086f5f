"""All else is in pyproject.toml; this writes the commit into a wheel, for `heddle --version`."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """The same, and commit.txt in the package; not in an editable installation, where git itself is asked."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        release = runpy.run_path("heddle/release.py")
        commit = release["commit_of"](Path("heddle").resolve())
        (Path(self.build_lib) / "heddle" / release["COMMIT_FILE"]).write_text(commit + "\n")


setup(cmdclass={"build_py": BuildWithCommit})
