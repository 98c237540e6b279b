"""`metarl export`: writes a run's policy as an ONNX file."""

import argparse

from metarl.cli.arguments import Commands, add_run_arguments, path


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("export", help="write the policy as an ONNX file", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    add_run_arguments(parser)
    parser.add_argument(
        "--to", metavar="FILE", type=path, help="the file to write or replace (RUN/policy-ENVSTEPS.onnx)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Exports a checkpoint of a run."""
    from metarl.files import make_room_for, refuse_run_files
    from metarl.loading import load_agent
    from metarl.runs import RunDirectory

    directory = RunDirectory.open(arguments.run)
    checkpoint = directory.checkpoint(arguments.checkpoint)
    agent, manifest = load_agent(checkpoint, directory.config, directory.config.tasks.build())
    file = arguments.to or directory.output / f"policy-{manifest.env_steps:012d}.onnx"
    if arguments.to is None:
        make_room_for(file, "--to")
    refuse_run_files(file, "--to")
    agent.export(file)
    print(f"policy: {file}")
