"""Writes a bash script that completes the commands' names and flags."""

import re
from collections.abc import Mapping

# Words are by command; where no word fits, files do.
_BASH = """\
_mtl_ssl() {
  local words="%(commands)s"
  if ((COMP_CWORD > 1)); then
    words=""
    case "${COMP_WORDS[1]}" in
%(cases)s
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _mtl_ssl mtl-ssl
"""


def bash(helps: Mapping[str, str]) -> str:
  """Returns the script for bash.

  Args:
    helps: command -> what its `--help` prints.
  """
  flags = {name: re.findall(r"(?<![\w-])--[a-z][\w-]*", text) for name, text in helps.items()}
  return _BASH % {
    "commands": " ".join(helps),
    "cases": "\n".join(
      f'      {name}) words="{" ".join(dict.fromkeys(words))}" ;;' for name, words in flags.items()
    ),
  }
