"""Configurations of training runs: models, reading from YAML and writing to it."""

from metarl.config.augmentation import AugmentationConfig as AugmentationConfig
from metarl.config.errors import explained as explained
from metarl.config.files import assign_fields as assign_fields
from metarl.config.files import dump_config as dump_config
from metarl.config.files import load_config as load_config
from metarl.config.files import load_run_config as load_run_config
from metarl.config.files import override_config as override_config
from metarl.config.files import parse_overrides as parse_overrides
from metarl.config.files import read_yaml as read_yaml
from metarl.config.run import CheckpointConfig as CheckpointConfig
from metarl.config.run import EvaluationConfig as EvaluationConfig
from metarl.config.run import RunConfig as RunConfig
from metarl.config.tasks import BanditTasks as BanditTasks
from metarl.config.tasks import DemonstrationTasks as DemonstrationTasks
from metarl.config.tasks import LocomotionTasks as LocomotionTasks
from metarl.config.tasks import MetaWorldTasks as MetaWorldTasks
from metarl.config.tasks import NavigationTasks as NavigationTasks
from metarl.config.tasks import RegisteredTasks as RegisteredTasks
from metarl.config.tasks import TabularTasks as TabularTasks
from metarl.config.tasks import ValidationTasks as ValidationTasks
