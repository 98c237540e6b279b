"""Recurrent cores: networks with a memory, behind one contract."""

from metarl.policies.config import CoreConfig, GRUConfig, LSTMConfig
from metarl.policies.cores.core import Core as Core
from metarl.policies.cores.rnn import GRUCore, LSTMCore
from metarl.policies.cores.transformer import TransformerCore


def make_core(input_size: int, config: CoreConfig) -> Core:
    """Creates the core that the settings name, for feature vectors of length `input_size`."""
    if isinstance(config, GRUConfig):
        return GRUCore(input_size, config)
    if isinstance(config, LSTMConfig):
        return LSTMCore(input_size, config)
    return TransformerCore(input_size, config)
