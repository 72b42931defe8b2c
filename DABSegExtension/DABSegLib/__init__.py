"""DABSegLib: the module's own library; nothing in it needs torch, and only `panel` needs Qt."""

from DABSegLib.home import add_core_to_path

add_core_to_path()
