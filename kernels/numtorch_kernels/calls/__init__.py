"""Calls of small operations that compiled code answers, without Python's interpreter.

:mod:`.callables` are the objects that are called, of types that :mod:`.pythontypes` makes;
:mod:`.holders` is how compiled code reads and makes the objects that hold arrays. The others have
the compiled code of calls of one sort each.
"""
