"""Torch: whether PyTorch is there, and the offer to install it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from DABSegLib import torch_offer
from DABSegLib.panel.section import Section

if TYPE_CHECKING:
    from DABSegLib.panel.panel import Panel


class TorchSection(Section):
    """The line above the sections, there only while something is missing."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.present = False
        self.ui.installTorchButton.clicked.connect(self._install)

    def look(self) -> None:
        """See what is installed."""
        self.present = torch_offer.is_ready()
        self.ui.torchLabel.text = "" if self.present else torch_offer.explain()
        self.ui.installTorchButton.visible = torch_offer.can_install()
        self.ui.torchFrame.visible = not self.present

    def _install(self, *_args: Any) -> None:
        """Install after asking; whatever came of it is shown."""
        message = torch_offer.install()
        self.look()
        self.runner.say(message)
        self.panel.refresh()
