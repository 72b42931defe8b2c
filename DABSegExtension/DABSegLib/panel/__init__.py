"""Panel: what the user sees and presses, one file a section; the only part of the library that knows Qt."""

from DABSegLib.panel.panel import Panel as Panel
