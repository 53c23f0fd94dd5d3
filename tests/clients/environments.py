"""Where clients of others are installed: environments of their own, so that the gateway's pins stay few.

`python -m tests.clients` makes them all in `.clients/`, from pinned versions; what these need in turn is the newest of
DAY, so that two machines get the same without a lock file. Nothing is built from source, and no script of a package
runs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from tests.documents import ROOT

DAY = "2026-11-20"
# A client that tries again pauses for up to 10 s.
_LONGEST_S = 100
# They talk to the gateway alone: no telemetry, and no list of prices from the internet.
_SILENT = {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MEM0_TELEMETRY": "False",
}


@dataclass(frozen=True, eq=False)
class Environment:
    """Packages that are installed together, and the programs that use them.

    Args:
        name: Its folder's, in `.clients/`.
        programs: The file in `tests/clients/programs/`; its suffix says whether pip or npm knows the packages.
        pins: Each package's version.
    """

    name: str
    programs: str
    pins: Mapping[str, str]

    @property
    def folder(self) -> Path:
        return ROOT / ".clients" / self.name

    @property
    def is_made(self) -> bool:
        return self._made.exists() and self._made.read_text() == self._wanted

    def make(self) -> None:
        """Install what isn't installed yet."""
        if self.is_made:
            return
        rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self._install_node if self.is_node else self._install_python)()
        self._made.write_text(self._wanted)

    def ask(self, program: str, asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers of a program, each with a `ranking` or an `error`."""
        file = Path(__file__).parent / "programs" / self.programs
        if self.is_node:
            # Packages are looked for beside the program.
            command = ["node", str(self._beside(file))]
        else:
            command = [str(self.folder / "bin" / "python"), str(file)]
        order = json.dumps({"program": program, "asked": asked})
        process = subprocess.run(
            command,
            input=order,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_S,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONUTF8": "1"} | _SILENT,
        )
        assert process.returncode == 0, process.stderr
        answers: list[dict[str, Any]] = json.loads(process.stdout)
        return answers

    @property
    def is_node(self) -> bool:
        return self.programs.endswith(".mjs")

    @property
    def _made(self) -> Path:
        return self.folder / "made"

    @property
    def _wanted(self) -> str:
        return json.dumps([DAY, sys.version, sorted(self.pins.items())])

    def _install_python(self) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(self.folder)])
        wanted = [f"{name}=={version}" for name, version in self.pins.items()]
        options = ["--quiet", "--only-binary", ":all:", "--exclude-newer", DAY]
        _run([uv, "pip", "install", *options, "--python", str(self.folder / "bin" / "python"), *wanted])

    def _install_node(self) -> None:
        package = {"private": True, "dependencies": self.pins}
        (self.folder / "package.json").write_text(json.dumps(package))
        options = ["--loglevel=error", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        _run(["npm", "install", *options, "--legacy-peer-deps", "--before", DAY], self.folder)

    def _beside(self, file: Path) -> Path:
        for one in (file, file.with_name("asked.mjs")):
            (self.folder / one.name).write_text(one.read_text())
        return self.folder / file.name


def _run(command: Sequence[str], cwd: Path = ROOT) -> None:
    # It says why on standard error.
    subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, check=True)
