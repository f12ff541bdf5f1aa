"""Regions of images and their names: what open-vocabulary detection needs beside a detector."""
