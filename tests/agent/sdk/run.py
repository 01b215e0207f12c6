"""The vendor's SDK against our server, on an ordinary port and on 9016, where its paths begin with an organization.

python -m tests.agent.sdk.run INTERPRETER_WITH_THE_SDK
"""

import subprocess
import sys
import tempfile
from pathlib import Path

CHECKS = Path(__file__).with_name("checks.py")


def run(interpreter: str, port: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.agent.serving", f"{folder}/agent.db", "--port", str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            try:
                return subprocess.run([interpreter, str(CHECKS), address], check=False, timeout=300).returncode
            finally:
                server.terminate()


if __name__ == "__main__":
    sys.exit(max(run(sys.argv[1], port) for port in (0, 9016)))
