"""The commands in their rooms: `operations/dead_letters.py` is `sluice dead-letters` and holds it as `command`.

There is no other list: `app.cli.root` finds them by their file names.
"""
