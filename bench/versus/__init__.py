"""fastcnn against other frameworks, side by side: `python -m bench.versus --help`.

Every framework runs in a process of its own (`worker.py`). They take turns, a fraction of a second each, so that
whatever else the machine does meets all of them alike; ratios are taken within a round. All compute the same network
from the same weights, which is checked before anything is timed. The other frameworks' networks are made from
fastcnn's layers (`structure.py`), so none is written twice.
"""
