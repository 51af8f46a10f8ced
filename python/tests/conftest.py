import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from consortium import Consortium  # noqa: E402


@pytest.fixture
def consortium(tmp_path):
    one = Consortium(tmp_path)
    yield one
    one.end()
