"""The application: `qt`, `ctk`, `slicer.app` and what else scripted modules import; `open_module` shows a panel."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer  # noqa: E402
from PySide6 import QtCore, QtGui, QtWidgets  # noqa: E402

from standins import dialogs, scripted_module  # noqa: E402
from standins.ctk_widgets import ctk_module  # noqa: E402
from standins.flavour import Control  # noqa: E402
from standins.layouts import LayoutManager  # noqa: E402
from standins.mrml import fresh_scene  # noqa: E402
from standins.mrml_widgets import install_widgets  # noqa: E402
from standins.parameter_node import wrapper_module  # noqa: E402
from standins.qt_module import qt_module  # noqa: E402

EXTENSION = Path(__file__).parents[3] / "DABSegExtension"


class Application(Control, QtWidgets.QApplication):
    """What modules ask of `slicer.app`."""

    startupCompleted = QtCore.Signal()
    applicationVersion = "5.10.0"
    majorVersion, minorVersion = 5, 10
    temporaryPath = tempfile.gettempdir()
    _layouts: LayoutManager | None = None

    def applicationLogic(self) -> Any:
        return slicer.modules.volumes.application

    def layoutManager(self) -> LayoutManager:
        """The one of the scene, made when it is first asked for."""
        if self._layouts is None or self._layouts.scene is not slicer.mrmlScene:
            self.forget_layouts()
            self._layouts = LayoutManager(slicer.mrmlScene)
        return self._layouts

    def forget_layouts(self) -> None:
        """Take the views of an earlier scene away."""
        if self._layouts is not None:
            self._layouts.close()
        self._layouts = None

    def moduleManager(self) -> Any:
        return types.SimpleNamespace(connect=lambda *_: True, disconnect=lambda *_: True, module=lambda name: None)

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def testingEnabled(self) -> bool:
        return False

    def mainWindow(self) -> None:
        return None

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings


def install() -> Application:
    """Make `import qt`, `import ctk` and `from slicer.ScriptedLoadableModule import *` work; once per process."""
    if isinstance(QtWidgets.QApplication.instance(), Application):
        return QtWidgets.QApplication.instance()
    sys.modules["qt"], sys.modules["ctk"] = qt_module(), ctk_module()
    application = Application(["Slicer"])
    _look(application)
    _settings_of_its_own(application)
    install_widgets()
    slicer.app = application
    _submodule("ScriptedLoadableModule", scripted_module.scripted_module())
    _submodule("parameterNodeWrapper", wrapper_module())
    translation = types.ModuleType("slicer.i18n", "Translation.")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    _submodule("i18n", translation)
    return application


def _submodule(name: str, module: types.ModuleType) -> None:
    sys.modules[f"slicer.{name}"] = module
    setattr(slicer, name, module)


def _look(application: Application) -> None:
    """The same on every machine: Fusion's light colours and DejaVu Sans."""
    application.setStyle("Fusion")
    fonts = [Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"), *_matplotlib_fonts()]
    for path in fonts:
        if path.is_file():
            QtGui.QFontDatabase.addApplicationFont(str(path))
    application.setFont(QtGui.QFont("DejaVu Sans", 9))


def _matplotlib_fonts() -> list[Path]:
    found = importlib.util.find_spec("matplotlib")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" if found else Path()
    return [folder / "DejaVuSans.ttf", folder / "DejaVuSans-Bold.ttf"]


def _settings_of_its_own(application: Application) -> None:
    """Settings in a folder that goes with the process, so that tests neither read nor write the user's."""
    application._settings = tempfile.TemporaryDirectory(prefix="dabseg-test-settings-")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, application._settings.name)
    application.setOrganizationName("DABSeg tests")
    application.setApplicationName("Slicer")


def open_module(scene: Any = None, path: Path | None = None) -> Any:
    """Load a module's file anew, as the application does at start, and enter its panel.

    Args:
        scene: The scene, which is then `slicer.mrmlScene`; a fresh one when None.
        path: The module's file; this extension's when None.

    Returns:
        The module's widget class instance; its `parent` is the panel.
    """
    install()
    dialogs.forget()
    if scene is None:
        fresh_scene()
    widget = load_module(path or EXTENSION / "DABSeg.py")
    widget.enter()
    QtWidgets.QApplication.processEvents()
    return widget


def close_module(widget: Any) -> None:
    """Leave the panel and take it away, as the application does when it closes."""
    widget.exit()
    widget.cleanup()
    widget.parent.close()
    widget.parent.deleteLater()
    QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    slicer.app.forget_layouts()
    QtWidgets.QApplication.processEvents()


def load_module(path: Path) -> Any:
    """Everything `open_module` does but the scene and entering it."""
    slicer.app.layoutManager()  # in the application it is there first, and with it the scene's layout node
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parent = scripted_module.ModuleParent(name, str(path))
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.modules, f"{name}Instance", getattr(module, name)(parent))
    panel = slicer.qMRMLWidget()
    panel.setLayout(QtWidgets.QVBoxLayout())
    panel.setMRMLScene(slicer.mrmlScene)
    widget = getattr(module, f"{name}Widget")(panel)
    setattr(slicer.modules, f"{name}Widget", widget)
    widget.setup()
    return widget
