"""Knowledge distillation of object detectors, as a plugin of kdhub; lets mmdet run without compiled operators."""

import mmcv_ops_torchvision as mmcv_ops_torchvision  # before anything imports mmcv.ops
