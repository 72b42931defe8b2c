"""The stand-ins behave as Slicer's Python, Qt and widgets do, on the example module and on real MRML."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Union

import numpy as np
import pytest
import slicer
import vtk

EXAMPLE = Path(__file__).parent / "example_module" / "Example.py"
VOLUME = "vtkMRMLScalarVolumeNode"


@pytest.fixture
def example(application, scene):
    from standins.application import close_module, open_module

    widget = open_module(scene, EXAMPLE)
    yield widget
    close_module(widget)


def a_volume(scene, name):
    return scene.AddNewNodeByClass(VOLUME, name)


# Qt as PythonQt shows it


def test_properties_are_attributes_and_methods_stay_methods(application):
    import qt

    button = qt.QPushButton("Apply")
    button.checkable = True
    button.checked = True
    assert (button.text, button.checked, button.isChecked()) == ("Apply", True, True)
    button.setText("Cancel")
    assert button.text == "Cancel"
    assert qt.QTableWidget(3, 2).rowCount == 3
    assert qt.QTableWidget(3, 2).horizontalHeader().visible is False  # an object that only C++ made


def test_signals_connect_by_attribute_and_by_text(application):
    import qt

    button, heard = qt.QPushButton("Apply"), []
    button.clicked.connect(lambda: heard.append("attribute"))
    button.connect("clicked(bool)", lambda checked: heard.append(checked))
    button.click()
    assert heard == ["attribute", False]


def test_a_misspelt_property_or_signal_is_refused(application):
    import qt

    button = qt.QPushButton("Apply")
    with pytest.raises(AttributeError, match="enable"):
        button.enable = False
    with pytest.raises(AttributeError, match="click"):
        button.connect("click()", print)


def test_a_class_derived_in_python_may_hold_anything(application):
    import qt

    class Button(qt.QPushButton):
        pass

    button = Button("Apply")
    button.meaning = 42
    assert button.meaning == 42


def test_an_unforeseen_dialog_fails_instead_of_hanging(application):
    from standins import dialogs

    with pytest.raises(AssertionError, match="Really"):
        slicer.util.confirmOkCancelDisplay("Really?")
    import qt

    dialogs.answers.append(qt.QMessageBox.Ok)
    assert slicer.util.confirmOkCancelDisplay("Really?")
    assert dialogs.asked == ["Really?", "Really?"]


def test_timers_run_in_the_event_loop(application, wait_until):
    import qt

    heard = []
    qt.QTimer.singleShot(0, lambda: heard.append(1))
    wait_until(lambda: heard, timeout_s=2)
    with pytest.raises(AssertionError, match="within"):
        wait_until(lambda: False, timeout_s=0.02)


# CTK's widgets


@pytest.mark.parametrize("name", ["ctkCollapsibleButton", "ctkCollapsibleGroupBox"])
def test_a_collapsed_section_hides_what_is_in_it_and_remembers_what_was_hidden(application, name):
    import ctk
    import qt

    section = getattr(ctk, name)()
    column = qt.QVBoxLayout(section)
    shown, hidden, told_later = (qt.QLabel(text) for text in ("shown", "hidden", "later"))
    for label in (shown, hidden, told_later):
        column.addWidget(label)
    hidden.visible = False
    section.show()
    slicer.app.processEvents()
    tall = section.sizeHint().height()
    section.collapsed = True
    assert not shown.visible
    assert section.maximumHeight < tall
    told_later.visible = False
    shown.visible = True  # asked for while collapsed: not before it is expanded
    assert not shown.visible
    section.collapsed = False
    assert (shown.visible, hidden.visible, told_later.visible) == (True, False, False)
    section.close()


def test_a_slider_keeps_to_its_range_and_tells_once(application):
    import ctk

    slider, heard = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = 0, 4, 1
    slider.connect("valueChanged(double)", heard.append)
    slider.value = 2.5
    slider.value = 9
    slider.value = 9
    assert heard == [2.5, 4.0]
    assert slider.slider().value == slider.STEPS


def test_a_path_edit_browses_for_files_or_folders(application):
    import ctk
    from standins import dialogs

    edit, heard = ctk.ctkPathLineEdit(), []
    edit.currentPathChanged.connect(heard.append)
    edit.filters = ctk.ctkPathLineEdit.Dirs
    dialogs.answers.extend(["/data/cases", ""])
    edit.browse()
    edit.browse()  # cancelled
    assert heard == ["/data/cases"]
    assert edit.currentPath == "/data/cases"


@pytest.mark.parametrize(
    ("filters", "path", "told"),
    [
        ((), "/data/any.name", ["/data/any.name"]),
        ((), "", [False]),
        (("All files (*)",), "/data/any.name", ["/data/any.name"]),
        (("Checkpoints (*.pt)", "All files (*)"), "/data/small.pt", ["/data/small.pt"]),
        (("Checkpoints (*.pt)", "All files (*)"), "/data/small.ckpt", [False]),
        (("Images (*.nrrd *.nii)",), "/data/t1.nii", ["/data/t1.nii", True]),
    ],
)
def test_a_path_edit_tells_of_valid_paths_only(application, filters, path, told):
    import ctk

    edit, heard = ctk.ctkPathLineEdit(), []
    edit.nameFilters = filters
    edit.currentPath = "/data/before.pt"
    edit.currentPathChanged.connect(heard.append)
    edit.validInputChanged.connect(heard.append)
    edit.currentPath = path
    assert edit.currentPath == path
    assert heard == told


# the node selector


def test_a_selector_lists_its_types_only(application, scene):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled, selector.showChildNodeTypes = (VOLUME,), True, False
    selector.setMRMLScene(scene)
    a_volume(scene, "T1")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    hidden = a_volume(scene, "hidden")
    hidden.SetHideFromEditors(True)
    assert selector.nodeCount() == 1
    selector.showChildNodeTypes = True
    assert selector.nodeCount() == 2
    hidden.SetHideFromEditors(False)
    assert selector.nodeCount() == 3


def test_a_selector_without_none_takes_the_first_node(application, scene):
    choosy, patient = slicer.qMRMLNodeComboBox(), slicer.qMRMLNodeComboBox()
    for selector, none in ((choosy, False), (patient, True)):
        selector.nodeTypes, selector.noneEnabled = (VOLUME,), none
        selector.setMRMLScene(scene)
    node = a_volume(scene, "T1")
    assert (choosy.currentNode(), patient.currentNode()) == (node, None)


def test_a_selector_follows_names_and_removal(application, scene):
    selector, heard = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes, selector.noneEnabled = (VOLUME,), True
    selector.setMRMLScene(scene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    node = a_volume(scene, "T1")
    selector.setCurrentNode(node)
    node.SetName("renamed")
    assert selector.comboBox().currentText == "renamed"
    scene.RemoveNode(node)
    assert heard == [node, None]


def test_a_selector_creates_and_deletes_as_its_menu_says(application, scene):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled, selector.baseName = ("vtkMRMLMarkupsROINode",), True, "Tumour box"
    selector.setMRMLScene(scene)
    box = selector.comboBox()
    items = [box.itemText(row) for row in range(box.count)]
    assert items == ["None", "", "Create new ROI", "Delete current ROI"]
    box.activated.emit(2)
    assert selector.currentNode().GetName() == "Tumour box"
    box.activated.emit(box.count - 1)
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0


# the parameter node


def test_parameters_start_with_their_defaults_and_are_strings_in_the_node(example):
    node = example.parameters.parameterNode
    texts = {name: node.GetParameter(name) for name in ("strength", "seed", "speed", "device", "careful")}
    assert texts == {"strength": "2", "seed": "7", "speed": "QUICK", "device": "auto", "careful": "True"}
    assert (node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("Example", "Example")


def test_widgets_show_parameters_and_set_them(example, scene):
    from_gui, ui = example.parameters, example.ui
    assert (ui.strengthSlider.value, ui.strengthSlider.maximum, ui.seedBox.maximum) == (2, 4, 99)
    assert [ui.speedBox.itemText(row) for row in range(ui.speedBox.count)] == ["slow (1)", "quick (2)"]
    node = a_volume(scene, "T1")
    ui.volumeSelector.setCurrentNode(node)
    ui.strengthSlider.value = 3.5
    ui.speedBox.currentIndex = 0
    ui.deviceBox.currentText = "cpu"
    ui.nameEdit.text = "somebody else"
    ui.carefulCheck.checked = False
    values = [from_gui.volume, from_gui.strength, from_gui.speed.name, from_gui.device, from_gui.name, from_gui.careful]
    assert values == [node, 3.5, "SLOW", "cpu", "somebody else", False]
    from_gui.seed, from_gui.volume = 11, None
    assert (ui.seedBox.value, ui.volumeSelector.currentNode()) == (11, None)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("strength", 5.0, ValueError),
        ("seed", 1.5, TypeError),
        ("device", "abacus", ValueError),
        ("name", None, TypeError),
    ],
)
def test_what_is_not_allowed_is_refused(example, name, value, error):
    before = example.parameters.getValue(name)
    with pytest.raises(error):
        setattr(example.parameters, name, value)
    assert example.parameters.getValue(name) == before


def test_a_union_takes_each_of_its_types(example, scene):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "truth")
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    for node in (segmentation, labels, None):
        example.parameters.truth = node
        assert example.parameters.truth is node
        assert example.ui.truthSelector.currentNode() is node
    with pytest.raises(TypeError):
        example.parameters.truth = a_volume(scene, "T1")


def test_a_union_that_does_not_name_none_cannot_start_as_none(application, scene):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        either: Union[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLLabelMapVolumeNode]  # noqa: UP007

    with pytest.raises(TypeError):
        Parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_widgets_the_application_could_not_connect_are_refused(example, application):
    import ctk
    import qt

    for widget, name in ((ctk.ctkPathLineEdit(), "name"), (qt.QLineEdit(), "seed"), (qt.QComboBox(), "name")):
        with pytest.raises(RuntimeError):
            example.parameters.connectParametersToGui({name: widget})


def test_a_disconnected_panel_is_silent(example):
    example.parameters.disconnectGui(example.connection)
    example.ui.seedBox.value = 12
    assert example.parameters.seed == 7
    example.parameters.seed = 13
    assert example.ui.seedBox.value == 12


# a module and its scene


def test_a_module_opens_and_closes(application, scene):
    from standins.application import close_module, open_module

    widget = open_module(scene, EXAMPLE)
    assert widget.ui.applyButton.enabled  # by enter()
    widget.ui.applyButton.click()
    assert widget.clicks == [False]
    widget.ui.carefulCheck.checked = False
    assert not widget.ui.seedBox.enabled  # by a connection in the .ui file
    close_module(widget)
    assert not widget.entered
    assert not widget.Observations


def test_closing_the_scene_empties_selectors_and_makes_a_new_parameter_node(example, scene):
    example.ui.volumeSelector.setCurrentNode(a_volume(scene, "T1"))
    example.parameters.seed = 50
    scene.Clear(0)
    assert example.ui.volumeSelector.currentNode() is None
    assert example.parameters.seed == 7
    assert scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1


@pytest.mark.parametrize("bundle", [False, True])
def test_a_saved_scene_comes_back_with_its_parameters_and_voxels(application, scene, tmp_path, bundle):
    from standins import mrml
    from standins.application import close_module, open_module

    widget = open_module(scene, EXAMPLE)
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    place = np.array([[0, -2, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]], dtype=float)
    widget.parameters.volume = slicer.util.addVolumeFromArray(voxels, place, name="T1")
    widget.parameters.volume.SetAttribute("DABSeg.Kind", json.dumps({"a": [1, "ä"]}))
    widget.parameters.strength = 3.25
    file = mrml.save_bundle(tmp_path / "s.mrb") if bundle else mrml.save_scene(tmp_path / "saved")
    close_module(widget)

    again = open_module(None, EXAMPLE)
    mrml.load_bundle(file, tmp_path / "unpacked") if bundle else mrml.load_scene(file)
    again.bind()
    volume = again.parameters.volume
    assert again.parameters.strength == 3.25
    assert volume.GetName() == "T1"
    assert again.ui.volumeSelector.currentNode() is volume
    assert json.loads(volume.GetAttribute("DABSeg.Kind")) == {"a": [1, "ä"]}
    world = world_of_voxel(volume, slicer.util.arrayFromVolume(volume), value=23)
    np.testing.assert_allclose(world, place @ [3, 2, 1, 1], atol=1e-5)  # wherever the reader put it in the array
    close_module(again)


def world_of_voxel(volume, voxels, value):
    """RAS mm of the one voxel that has a value."""
    k, j, i = np.argwhere(voxels == value)[0]
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix) @ [i, j, k, 1]


def test_the_layout_manager_shows_the_four_views_of_a_new_slicer(example):
    manager = slicer.app.layoutManager()
    assert manager is slicer.app.layoutManager()
    assert manager.sliceViewNames() == ("Red", "Green", "Yellow")
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert manager.sliceViewNames() == ("Red",)
    assert manager.sliceWidget("Green") is None


def test_a_layout_chosen_in_the_scene_gets_its_views_at_once(example, scene):
    manager = slicer.app.layoutManager()
    assert manager.mrmlSliceLogics().GetNumberOfItems() == 3
    layout = "<layout type='horizontal'><item><view class='vtkMRMLSliceNode' singletontag='Mine'/></item></layout>"
    node = manager.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(987, layout)
    node.SetViewArrangement(987)
    assert manager.sliceViewNames() == ("Mine",)
    assert manager.mrmlSliceLogics().GetNumberOfItems() == 4
    volume = slicer.util.addVolumeFromArray(np.ones((4, 5, 6), np.float32), name="T1")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    assert manager.sliceWidget("Mine").mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()


# pictures and processes


def test_a_picture_shows_the_panel_with_readable_letters_beside_the_views(example, tmp_path):
    from matplotlib.image import imread
    from standins.window import PANEL_PX, screenshot

    views = slicer.app.layoutManager().views
    views.size = (300, 200)
    picture = imread(screenshot(example, tmp_path / "window.png", views))
    assert picture.shape[1] == PANEL_PX + 6 + 300
    red_bar = picture[5, PANEL_PX + 6 + 100]
    assert red_bar[0] > 0.8 > 0.5 > red_bar[2]

    # letters: the same panel with another word differs in a patch as wide as a word, not in boxes of one shape
    label = example.ui.nameEditLabel
    before = letters(label, "iiii", tmp_path)
    after = letters(label, "MMMM", tmp_path)
    assert after > 2 * before > 0


def letters(label, text, folder):
    """Dark pixels of a label that says this."""
    from matplotlib.image import imread
    from standins.window import screenshot

    label.text = text
    return int((imread(screenshot(label, folder / f"{text}.png"))[..., :3].mean(axis=2) < 0.5).sum())


def test_children_are_found_at_any_depth_while_they_live():
    from standins.processes import children

    before = children()
    inner = "import time; time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    try:
        end = time.monotonic() + 20
        while len(children() - before) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert len(children() - before) == 2
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not children() - before
