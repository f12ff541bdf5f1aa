"""The contracts, as assertions for the tests of plugins: call one with your class and read what it says to mend.

Example:
    The whole test file of a small plugin::

        from kdhub.testing.contracts import assert_loss_contract, assert_plugin_contract
        from kdseg.losses import BPKDLoss

        def test_plugin():
            assert_plugin_contract("kdseg")

        def test_bpkd():
            assert_loss_contract(BPKDLoss, inputs=dict(student=(2, 5, 8, 8), teacher=(2, 5, 8, 8)))
"""

from kdhub.testing.adapter_contract import assert_adapter_contract
from kdhub.testing.loss_contract import assert_loss_contract
from kdhub.testing.plugin_contract import assert_plugin_contract
from kdhub.testing.schedule_contract import assert_schedule_contract
from kdhub.testing.teacher_contract import assert_teacher_contract

__all__ = [
    "assert_adapter_contract",
    "assert_loss_contract",
    "assert_plugin_contract",
    "assert_schedule_contract",
    "assert_teacher_contract",
]
