"""Processes of one run: started with torchrun or by hand, watched, and hit by signals."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def torchrun(size, arguments, log, options=()):
    """Start `size` processes of `arguments` (a script and what it takes) as a `Launch`."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={size}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *options, *arguments]
    return Launch(command, log, {})


def by_hand(size, arguments, log):
    """The same without torchrun, one `Launch` a process; the first keeps the store."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        port = taken.getsockname()[1]
    common = {"WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [
        Launch([sys.executable, *arguments], f"{log}.{rank}", {**common, "RANK": rank})
        for rank in range(size)
    ]


class Launch:
    """A command in a process group of its own, what it writes, and its processes by rank."""

    def __init__(self, command, log, environment):
        self.log = Path(log)
        environment = {key: str(value) for key, value in environment.items()}
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
                start_new_session=True,
            )

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern, seconds=90):
        """Until the output has a line that matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            over = self.process.poll() is not None or time.monotonic() > deadline
            assert not over or re.search(pattern, self.text), f"no {pattern!r} in:\n{self.text}"
            time.sleep(0.02)

    def ranks(self):
        """{rank: process id} of the processes that torchrun has started."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    environment = (folder / "environ").read_text(errors="replace")
                    found[int(re.search(r"\0RANK=(\d+)\0", f"\0{environment}")[1])] = int(
                        folder.name
                    )
            except (OSError, TypeError):
                continue
        return found

    def wait(self, seconds=120):
        """The exit status."""
        return self.process.wait(seconds)

    def kill(self):
        """End all of it, as a test must leave nothing behind."""
        for pid in [*self.ranks().values(), self.process.pid]:
            try:
                os.killpg(pid, 9) if pid == self.process.pid else os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait()
