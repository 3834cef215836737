"""From a stranger's data file to a commented config: what each column seems to be, defaults that fit the rows, and for
each choice the reason."""

from twolayer.init_config.writing import Proposal, propose, write_config

__all__ = ["Proposal", "propose", "write_config"]
