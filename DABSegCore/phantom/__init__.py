"""Phantom: seeded virtual patients - four-modality brain MRI with a glioma and exact labels, on the BraTS grid."""

from DABSegCore.phantom.patient import BRATS_SHAPE as BRATS_SHAPE
from DABSegCore.phantom.patient import VirtualPatient as VirtualPatient
from DABSegCore.phantom.patient import patient_id as patient_id
from DABSegCore.phantom.patient import virtual_patient as virtual_patient
from DABSegCore.phantom.patient import write_patient as write_patient
