"""What ``kdhub --help`` says."""

from __future__ import annotations

from kdhub.cli.commands import COMMANDS

_WIDTH = max(map(len, COMMANDS))
_LIST = "\n".join(f"  {name:<{_WIDTH}}  {command.summary}" for name, command in COMMANDS.items())

HELP = f"""\
usage: kdhub [--version] [--no-plugins] [-p NAME] COMMAND ...

One registry of knowledge-distillation methods that run on models you already have: a method comes with
`pip install`, is named in a config, and leaves a clean student behind.

commands:
{_LIST}
  plugins add more, such as kdhub demo and kdhub search of kdhub-retrieval: kdhub list commands

plugins:
  --no-plugins     load only what is built in
  -p NAME          load a module or a .py file as a plugin (-p ./my_loss.py); -p no:NAME keeps one out

examples:
  kdhub list losses                          what can compare a student with a teacher?
  kdhub info kdhub.TemperatureKL             what does it take, and how is it written?
  kdhub list recipes                         what can I train now?
  kdhub check configs/my_config.py           is my config right?
  kdhub probe configs/my_config.py           which modules can I hook?
  kdhub train configs/my_config.py --cfg-options train_cfg.max_epochs=1

`kdhub COMMAND --help` or `kdhub help COMMAND` explains a command. Start with `kdhub list recipes`, then train one.
If something does not work, type `kdhub doctor`."""
