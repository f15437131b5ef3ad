"""What each service's process loads before it serves."""

import json
import subprocess
import sys

ALONE = (
    "aiohttp",
    "cel_expr_python",
    "harmost.services.budget",
    "harmost.services.policy",
    "harmost.services.router",
    "harmost.services.sandbox",
    "harmost.services.telemetry",
)


def test_a_start_loads_no_part_that_another_service_alone_needs() -> None:
    words = "import json, sys, harmost.services.main; print(json.dumps(list(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", words], capture_output=True, check=True)
    loaded = json.loads(ran.stdout)
    assert "harmost.services.transport" in loaded
    assert [name for name in loaded if name.startswith(ALONE)] == []
