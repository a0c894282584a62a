"""Microscopes: Micro-Manager's devices (extra ``acquire``), a demo microscope, autofocus, z-stacks and scans on them.

Importing this moves nothing, and neither does connecting.
"""
