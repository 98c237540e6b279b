"""Meta-World's meta-learning benchmarks as task distributions; no other package imports `metaworld`."""

from metarl_envs.metaworld.versions import check_versions, installed_versions

check_versions()  # before `metaworld` is imported: another release has other physics, if it can be imported at all

from metarl_envs.metaworld.benchmarks import BENCHMARKS, TASK_NAMES, MetaWorld, benchmark_classes  # noqa: E402
from metarl_envs.metaworld.reference import ReferenceVectorEnv  # noqa: E402
from metarl_envs.metaworld.registration import add_class  # noqa: E402

__all__ = [
    "BENCHMARKS",
    "TASK_NAMES",
    "MetaWorld",
    "ReferenceVectorEnv",
    "add_class",
    "benchmark_classes",
    "check_versions",
    "installed_versions",
]
