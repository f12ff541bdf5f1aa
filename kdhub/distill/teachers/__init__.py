"""Teachers: what answers with the values that objectives compare the student with."""

from kdhub.distill.teachers.base import CONFIG_MARKER, AfterStudent, Replay, Teacher
from kdhub.distill.teachers.ema import EMATeacher
from kdhub.distill.teachers.model import ModelTeacher

__all__ = ["CONFIG_MARKER", "AfterStudent", "EMATeacher", "ModelTeacher", "Replay", "Teacher"]
