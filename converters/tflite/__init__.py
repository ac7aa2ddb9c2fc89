"""TFLite: conversion, int8 and float16, and new files by moving operators.

from msd_edge.converters.tflite import TfliteConverter, census
"""

from .census import census
from .convert import PreparedTflite, TfliteConverter

__all__ = ["PreparedTflite", "TfliteConverter", "census"]
