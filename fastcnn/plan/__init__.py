"""A graph made concrete for one set of input shapes, one mode and one device."""

from fastcnn.plan.description import describe
from fastcnn.plan.function import Function
from fastcnn.plan.run import Plan

__all__ = ["Function", "Plan", "describe"]
