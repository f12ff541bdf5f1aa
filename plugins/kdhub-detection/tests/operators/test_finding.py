"""Which module `mmcv._ext` is: the compiled one, the stand-in, and what is said about it."""

import importlib.machinery
import logging
import subprocess
import sys

import pytest
import torch
from mmcv import ops

import mmcv_ops_torchvision
from mmcv_ops_torchvision import EXTENSION, Finder


@pytest.mark.skipif(mmcv_ops_torchvision.compiled(), reason="the compiled operators are in use")
def test_mmdet_imports_after_kddet():
    """`No module named mmcv._ext` is what users of the documented install report; conftest.py imports as they do."""
    assert "mmdet.models" in sys.modules
    assert sys.modules[EXTENSION].__file__.endswith("ext.py")


def test_importing_it_imports_no_torch():
    """The manifest imports it, and `kdhub plugins list` must not wait for torch."""
    code = "import sys, kddet, kddet.plugin; assert not {'torch', 'mmcv', 'torchvision'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_steps_aside(tmp_path, caplog):
    """Whoever compiled mmcv wants those operators, and to see that they are the ones in use."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f"_ext{suffix}").touch()
    with caplog.at_level(logging.INFO, "mmcv_ops_torchvision"):
        spec = Finder.find_spec(EXTENSION, [str(tmp_path)])
        assert spec.origin == str(tmp_path / f"_ext{suffix}")
        assert Finder.find_spec(EXTENSION, [str(tmp_path / "none")]).origin.endswith("ext.py")
        assert Finder.find_spec("mmcv.ops", [str(tmp_path)]) is None
    compiled, stand_in = (record.message for record in caplog.records)
    assert compiled == "mmcv's operators: compiled"
    assert stand_in.startswith("mmcv's operators: torchvision ")


def test_it_is_installed_once():
    """A finder for each import of a reloaded package would log as often."""
    mmcv_ops_torchvision.install()
    assert sum(isinstance(finder, Finder) for finder in sys.meta_path) == 1


@pytest.mark.skipif(mmcv_ops_torchvision.compiled(), reason="the compiled operators are in use")
def test_a_lacking_operator_says_what_to_do():
    """`AttributeError` deep in a forward pass names neither the cause nor a way out."""
    with pytest.raises(NotImplementedError, match=r"'ball_query_forward'.*without this operator, or build mmcv's own"):
        ops.ball_query(0.0, 0.2, 5, torch.zeros(1, 3, 3), torch.zeros(1, 3, 3))
    with pytest.raises(NotImplementedError, match="roi_align with pool_mode='max'"):
        ops.roi_align(torch.zeros(1, 1, 2, 2), torch.zeros(1, 5), (1, 1), 1.0, 0, "max")
    assert mmcv_ops_torchvision.in_use().startswith("torchvision ")
    assert "torchvision" in ops.get_compiler_version()
