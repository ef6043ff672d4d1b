"""One house for the whole folder; each test works on a copy of its files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.scene import Scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A house whose life is over."""
    return Scene.at(tmp_path_factory.mktemp("scene"), commands=80, bulk=900)


@pytest.fixture
def copy(scene: Scene, tmp_path: Path) -> Callable[[], Path]:
    """A fresh copy of its home."""

    def make() -> Path:
        target = tmp_path / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(scene.home, target)
        return target

    return make
