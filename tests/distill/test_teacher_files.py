"""Teachers whose model is another config's and whose weights are a file."""

import pytest

from kdhub.distill.teachers import ModelTeacher
from kdhub.errors import UsageError


def test_missing_weights_of_a_configs_teacher_say_what_makes_them(tmp_path):
    """A recipe's first error would be a path in work_dirs that no page explains."""
    config = tmp_path / "teacher.py"
    config.write_text("model = dict(type='kdhub.testing.toys.ToySegmentor')\n")
    with pytest.raises(UsageError, match=rf"absent\.pth: no such checkpoint.*kdhub train {config}"):
        ModelTeacher(str(config), checkpoint=str(tmp_path / "absent.pth"))
