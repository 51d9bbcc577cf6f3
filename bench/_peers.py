"Environments of their own for the packages that the benchmarks measure beside ours: their pins would not agree with the project's."

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def peer_python(
    name: str,  # of the environment
    *requirements: str,  # as pip takes them
) -> Path:  # its Python
    "The Python of an environment with these packages, made when it is not there."
    folder = ROOT / ".venv-bench" / name
    ready = folder / "ready.txt"
    if not ready.is_file() or ready.read_text() != "\n".join(requirements):
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--compile-bytecode", "--python", folder / "bin" / "python", *requirements], check=True)
        ready.write_text("\n".join(requirements))
    return folder / "bin" / "python"
