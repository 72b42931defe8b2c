"""DABSegCore: restore and segment motion-blurred brain-tumour MRI in one network (research use only)."""

__version__ = "0.1.0"
