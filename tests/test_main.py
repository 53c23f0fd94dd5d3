"""The composition root."""

import subprocess
import sys

import pytest

_BUILD = "from app.main import create_app; from app.settings import Settings; create_app(Settings({settings}))"


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ("", set()),
        ("redis_url='redis://127.0.0.1:9'", {"redis", "hiredis"}),
        ("workers=('kubernetes://ml/vllm:http',)", {"httpx"}),
    ],
)
def test_a_library_is_loaded_by_those_who_use_it(settings: str, used: set[str]):
    script = f"import sys; {_BUILD.format(settings=settings)}; print(*(name.partition('.')[0] for name in sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert {"redis", "hiredis", "httpx"} & set(printed.stdout.split()) == used
